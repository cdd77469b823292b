"""Stage `train`: train the grounder of one variant and seed."""

from __future__ import annotations

from camground.grounder.config import GrounderConfig
from camground.matcher.config import GradcamConfig
from camground.stages.command import (
    CamsFile,
    CheckpointFolder,
    ConfigText,
    ExpressionsFile,
    FeaturesFolder,
    ImagesFile,
    OutputFolder,
    ProposalsFile,
    ResumeFolder,
    Threads,
    read_config,
)
from camground.study.section import Section
from camground.training.config import LossesConfig, TrainConfig


class TrainInput(Section):
    """What `--config` holds: the variant's own sections, and `gradcam` for the threshold of a map's box."""

    variant: str
    seed: int
    grounder: GrounderConfig
    losses: LossesConfig
    train: TrainConfig
    gradcam: GradcamConfig


def train(
    config: ConfigText,
    images: ImagesFile,
    expressions: ExpressionsFile,
    proposals: ProposalsFile,
    cams: CamsFile,
    features: FeaturesFolder,
    matcher: CheckpointFolder,
    output_dir: OutputFolder,
    resume_dir: ResumeFolder = None,
    threads: Threads = 1,
) -> None:
    """Train the grounder of one variant and seed, from image-sentence pairs and CAMs alone.

    Selected on captions; no box of any target is among the inputs.
    """
    from camground.training.grounder import train_grounder

    options = read_config(config, TrainInput)
    train_grounder(
        options.grounder,
        options.losses,
        options.train,
        options.gradcam.box_threshold,
        options.variant,
        options.seed,
        images,
        expressions,
        proposals,
        cams,
        features,
        matcher,
        output_dir,
        resume_dir,
        threads,
    )
