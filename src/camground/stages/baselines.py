"""Stage `baselines`: methods that learn nothing from captions beyond the matcher's map, and the bound."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer

from camground.evaluation.baselines import BASELINES
from camground.evaluation.config import EvaluateConfig
from camground.grounder.config import PredictConfig
from camground.matcher.config import GradcamConfig
from camground.stages import command
from camground.study.errors import UserError
from camground.study.section import Section
from camground.training.config import LossesConfig


class BaselinesInput(Section):
    """What `--config` holds: the protocol, how boxes are read out, and what the teacher is made of."""

    dataset: str
    seeds: tuple[int, ...]
    baselines: tuple[str, ...] = tuple(BASELINES)
    evaluate: EvaluateConfig
    gradcam: GradcamConfig
    predict: PredictConfig
    losses: LossesConfig


def baselines(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    targets: command.TargetsFile,
    proposals: command.ProposalsFile,
    output_root: command.OutputFolder,
    gradcam: Annotated[
        Path | None,
        typer.Option(help="Folder with seedK/cams.parquet, each seed's CAMs, where there are any."),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="The feature cache, where losses.distillation.label has a weight.")
    ] = None,
) -> None:
    """Predict and measure with every baseline that needs no training.

    Writes BASELINE/seedK/{predictions,metrics,outcomes}.parquet in --output-root.
    """
    from camground.evaluation.baselines import evaluate_baselines
    from camground.evaluation.ground_truth import GroundTruth, load
    from camground.features.store import FeatureStore
    from camground.matcher.maps import cams_file

    options = command.read_config(config, BaselinesInput)
    if options.losses.distillation.label and features is None:
        raise UserError("losses.distillation.label: a teacher that reads texts needs --features")
    store = FeatureStore(features) if options.losses.distillation.label and features is not None else None

    @lru_cache(2)
    def truth_of(seed: int) -> GroundTruth:
        cams = None if gradcam is None else cams_file(gradcam, seed)
        return load(options.evaluate, images, expressions, targets, proposals, cams)

    of_study = options.predict, options.gradcam.box_threshold, options.losses.distillation
    run = options.dataset, options.seeds, options.baselines
    evaluate_baselines(truth_of, *run, *of_study, expressions, output_root, store)
