"""Stage `predict`: the boxes, scores and own maps of a trained grounder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.evaluation.config import EvaluateConfig
from camground.grounder.config import PredictConfig
from camground.stages import command
from camground.study.section import Section


class PredictInput(Section):
    """What `--config` holds: how to predict, and `evaluate.splits`, the splits to predict."""

    predict: PredictConfig
    evaluate: EvaluateConfig


def predict(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    proposals: command.ProposalsFile,
    detected: Annotated[
        Path, typer.Option(help="Table of the proposals that training saw, to calibrate with (Parquet).")
    ],
    cams: command.CamsFile,
    features: command.FeaturesFolder,
    checkpoint: command.CheckpointFolder,
    output: command.OutputFile,
    swaps: command.OutputFile,
    calibration: command.OutputFile,
    threads: command.Threads = 1,
) -> None:
    """Ground the phrases of the evaluated splits and score their word swaps.

    Of a split that has boxes for some of its phrases, those alone are grounded; which they are stands in the
    table expressions, the boxes do not.

    Writes the tables predictions (--output) and swap_scores (--swaps), and what makes the image score the
    probability that a phrase is in the picture, fitted on captions of val (--calibration).
    """
    from camground.grounder.predict import predict as ground
    from camground.study.devices import prepare_torch

    options = command.read_config(config, PredictInput)
    inputs = images, expressions, proposals, detected, cams, features, checkpoint
    outputs = output, swaps, calibration
    ground(options.predict, options.evaluate.splits, *inputs, *outputs, prepare_torch(threads))
