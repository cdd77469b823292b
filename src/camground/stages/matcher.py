"""Stage `matcher`: train the image-text matcher."""

from __future__ import annotations

from camground.features.config import FeaturesConfig
from camground.matcher.config import MatcherConfig
from camground.stages import command
from camground.study.section import Section


class MatcherInput(Section):
    """What `--config` holds. `features` makes the stage run again when the features change."""

    seed: int
    features: FeaturesConfig
    matcher: MatcherConfig


def matcher(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    features: command.FeaturesFolder,
    output_dir: command.OutputFolder,
    resume_dir: command.ResumeFolder = None,
    threads: command.Threads = 1,
) -> None:
    """Train the image-text matcher of one seed on the study's own image-sentence pairs."""
    from camground.training.matcher import train_matcher

    options = command.read_config(config, MatcherInput)
    inputs = images, expressions, features
    train_matcher(options.matcher, options.seed, *inputs, output_dir, resume_dir, threads)
