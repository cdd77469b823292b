"""Stage `evaluate`: a method's predictions, and a training's learning curve, measured against the targets."""

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
    metrics: command.OutputFile,
    outcomes: command.OutputFile,
    cams: Annotated[Path | None, typer.Option(help="Table of the matcher's CAMs (Parquet).")] = None,
    swaps: Annotated[
        Path | None, typer.Option(help="Table of swap scores (Parquet), where a method has one.")
    ] = None,
    train_dir: Annotated[Path | None, typer.Option(help="Folder of the method's training.")] = None,
    learning_curve: Annotated[
        Path | None, typer.Option(help="File to write: the training's accuracy on val after each epoch.")
    ] = None,
) -> None:
    """Measure predictions against the targets: outcomes of every expression, and their means.

    Counted is every expression of the evaluated splits that has a target; one without a prediction is wrong.
    """
    from camground.evaluation.ground_truth import load
    from camground.evaluation.learning_curve import write_learning_curve
    from camground.evaluation.outcomes import Run, evaluate_files

    options = command.read_config(config, EvaluateInput)
    files = images, expressions, targets, proposals, cams
    run = Run(options.dataset, options.variant, options.seed)
    evaluate_files(load(options.evaluate, *files), run, predictions, swaps, outcomes, metrics)
    if train_dir is not None and learning_curve is not None:
        write_learning_curve(options.evaluate, run, *files, train_dir, learning_curve)
