"""Stage `train`: train the grounder of one variant and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.grounder.config import GrounderConfig
from camground.stages import command
from camground.study.section import Section
from camground.training.config import LossesConfig, TrainConfig


class TrainInput(Section):
    """What `--config` holds: the variant's own sections."""

    variant: str
    seed: int
    grounder: GrounderConfig
    losses: LossesConfig
    train: TrainConfig


def train(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    proposals: command.ProposalsFile,
    cams: command.CamsFile,
    teacher_cams: Annotated[
        Path, typer.Option(help="Table of the CAMs that the distillation's teacher is made of (Parquet).")
    ],
    features: command.FeaturesFolder,
    matcher: command.CheckpointFolder,
    output_dir: command.OutputFolder,
    resume_dir: command.ResumeFolder = None,
    threads: command.Threads = 1,
) -> None:
    """Train the grounder of one variant and seed, from image-sentence pairs and CAMs alone.

    Selected on captions; no box of any target is among the inputs.
    """
    from camground.training.grounder import train_grounder

    options = command.read_config(config, TrainInput)
    sections = options.grounder, options.losses, options.train
    inputs = images, expressions, proposals, cams, teacher_cams, features, matcher
    train_grounder(*sections, options.variant, options.seed, *inputs, output_dir, resume_dir, threads)
