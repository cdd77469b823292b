"""Stage `predict`: the boxes, scores and own maps of a trained grounder."""

from __future__ import annotations

from camground.evaluation.config import EvaluateConfig
from camground.grounder.config import PredictConfig
from camground.stages.command import (
    CamsFile,
    CheckpointFolder,
    ConfigText,
    ExpressionsFile,
    FeaturesFolder,
    ImagesFile,
    OutputFile,
    ProposalsFile,
    Threads,
    read_config,
)
from camground.study.section import Section


class PredictInput(Section):
    """What `--config` holds: how to predict, and `evaluate.splits`, the splits to predict."""

    predict: PredictConfig
    evaluate: EvaluateConfig


def predict(
    config: ConfigText,
    images: ImagesFile,
    expressions: ExpressionsFile,
    proposals: ProposalsFile,
    cams: CamsFile,
    features: FeaturesFolder,
    checkpoint: CheckpointFolder,
    output: OutputFile,
    swaps: OutputFile,
    threads: Threads = 1,
) -> None:
    """Ground every phrase of the evaluated splits and score its word swaps.

    Writes the tables predictions (--output) and swap_scores (--swaps).
    """
    from camground.grounder.predict import predict as ground
    from camground.study.devices import prepare_torch

    options = read_config(config, PredictInput)
    ground(
        options.predict,
        options.evaluate.splits,
        images,
        expressions,
        proposals,
        cams,
        features,
        checkpoint,
        output,
        swaps,
        prepare_torch(threads),
    )
