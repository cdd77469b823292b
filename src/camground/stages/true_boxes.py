"""Stage `true_boxes`: the protocol in which every method chooses among the true boxes of the objects."""

from __future__ import annotations

from camground.evaluation.config import EvaluateConfig
from camground.stages import command
from camground.study.section import Section


class TrueBoxesInput(Section):
    evaluate: EvaluateConfig


def true_boxes(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    targets: command.TargetsFile,
    output: command.OutputFile,
) -> None:
    """Give the evaluated splits the true boxes of their objects to choose among.

    The protocol evaluate.proposals: ground_truth; training's proposals stay the detected ones.
    """
    from camground.proposals.ground_truth import write_true_boxes

    splits = command.read_config(config, TrueBoxesInput).evaluate.splits
    write_true_boxes(splits, images, expressions, targets, output)
