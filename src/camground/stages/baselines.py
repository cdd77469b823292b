"""Stage `baselines`: methods that learn nothing from captions beyond the matcher's map, and the bound."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer

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
    gradcam: Annotated[Path, typer.Option(help="Folder with seedK/cams.parquet, each seed's CAMs.")],
    output_root: command.OutputFolder,
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
        tables = images, expressions, targets, proposals, cams_file(gradcam, seed)
        return load(options.evaluate, *tables)

    of_study = options.predict, options.gradcam.box_threshold, options.losses.distillation
    evaluate_baselines(truth_of, options.dataset, options.seeds, *of_study, expressions, output_root, store)
