"""Stage `baselines`: methods that learn nothing from captions beyond the matcher's map, and the bound."""

from __future__ import annotations

from camground.evaluation.config import EvaluateConfig
from camground.matcher.config import GradcamConfig
from camground.stages.command import (
    CamsFile,
    ConfigText,
    ExpressionsFile,
    ImagesFile,
    OutputFolder,
    ProposalsFile,
    TargetsFile,
    read_config,
)
from camground.study.section import Section


class BaselinesInput(Section):
    dataset: str
    seeds: tuple[int, ...]
    evaluate: EvaluateConfig
    gradcam: GradcamConfig


def baselines(
    config: ConfigText,
    images: ImagesFile,
    expressions: ExpressionsFile,
    targets: TargetsFile,
    proposals: ProposalsFile,
    cams: CamsFile,
    output_root: OutputFolder,
) -> None:
    """Predict and measure with every baseline that needs no training.

    Writes BASELINE/seedK/{predictions,metrics,outcomes}.parquet in --output-root.
    """
    from camground.evaluation.baselines import evaluate_baselines
    from camground.evaluation.ground_truth import load

    options = read_config(config, BaselinesInput)
    truth = load(options.evaluate, images, expressions, targets, proposals, cams)
    threshold = options.gradcam.box_threshold
    evaluate_baselines(truth, options.dataset, options.seeds, threshold, output_root)
