"""Stage `evaluate`: one trained variant's predictions measured against the targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.evaluation.config import EvaluateConfig
from camground.stages import command
from camground.study.section import Section


class EvaluateInput(Section):
    dataset: str
    variant: str
    seed: int
    evaluate: EvaluateConfig


def evaluate(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    targets: command.TargetsFile,
    predictions: command.PredictionsFile,
    proposals: command.ProposalsFile,
    cams: command.CamsFile,
    metrics: command.OutputFile,
    outcomes: command.OutputFile,
    swaps: Annotated[
        Path | None, typer.Option(help="Table of swap scores (Parquet), where a method has one.")
    ] = None,
) -> None:
    """Measure predictions against the targets: outcomes of every expression, and their means.

    Counted is every expression of the evaluated splits that has a target; one without a prediction is wrong.
    """
    from camground.evaluation.ground_truth import load
    from camground.evaluation.outcomes import Run, evaluate_files

    options = command.read_config(config, EvaluateInput)
    truth = load(options.evaluate, images, expressions, targets, proposals, cams)
    run = Run(options.dataset, options.variant, options.seed)
    evaluate_files(truth, run, predictions, swaps, outcomes, metrics)
