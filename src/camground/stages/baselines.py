"""Stage `baselines`: methods that learn nothing from captions beyond the matcher's map, and the bound."""

from __future__ import annotations

from camground.evaluation.config import EvaluateConfig
from camground.matcher.config import GradcamConfig
from camground.stages import command
from camground.study.section import Section


class BaselinesInput(Section):
    dataset: str
    seeds: tuple[int, ...]
    evaluate: EvaluateConfig
    gradcam: GradcamConfig


def baselines(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    targets: command.TargetsFile,
    proposals: command.ProposalsFile,
    cams: command.CamsFile,
    output_root: command.OutputFolder,
) -> None:
    """Predict and measure with every baseline that needs no training.

    Writes BASELINE/seedK/{predictions,metrics,outcomes}.parquet in --output-root.
    """
    from camground.evaluation.baselines import evaluate_baselines
    from camground.evaluation.ground_truth import load

    options = command.read_config(config, BaselinesInput)
    truth = load(options.evaluate, images, expressions, targets, proposals, cams)
    threshold = options.gradcam.box_threshold
    evaluate_baselines(truth, options.dataset, options.seeds, threshold, output_root)
