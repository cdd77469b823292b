"""Tool `selection`: what choosing the epoch by boxes instead of captions would have gained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from camground.evaluation.config import EvaluateConfig
from camground.grounder.config import PredictConfig
from camground.stages import command
from camground.study.section import Section


class SelectionInput(Section):
    predict: PredictConfig
    evaluate: EvaluateConfig


def selection(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    proposals: command.ProposalsFile,
    cams: command.CamsFile,
    targets: command.TargetsFile,
    features: command.FeaturesFolder,
    train_dir: command.Folder,
    output: command.OutputFile,
    split: Annotated[
        Literal["test", "testA", "testB"], typer.Option(help="Evaluated split to tell it on.")
    ] = "test",
    threads: command.Threads = 1,
) -> None:
    """Compare the epoch that captions chose with the one that boxes of val would have chosen.

    Of a training that kept its epochs (train.keep_epochs: true). Writes both, and the accuracy of every
    epoch, as JSON.
    """
    import json

    from camground.evaluation.ground_truth import load
    from camground.evaluation.selection import compare_choices
    from camground.grounder.predict import predict
    from camground.study import tables
    from camground.study.devices import prepare_torch
    from camground.study.progress import log

    options = command.read_config(config, SelectionInput)
    device = prepare_torch(threads)
    inputs = images, expressions, proposals, cams

    def predict_with(checkpoint: Path, predictions: Path, swaps: Path) -> None:
        files = *inputs, features, checkpoint, predictions, swaps
        predict(options.predict, options.evaluate.splits, *files, device)

    truth = load(options.evaluate, images, expressions, targets, proposals, cams)
    choices = compare_choices(train_dir, truth, split, predict_with)
    with tables.atomic(output) as temporary:
        temporary.write_text(json.dumps(choices, indent=1))
    log.info("by captions %s, by boxes %s", choices["by_captions"], choices["by_boxes"])
