"""Stage `tuning`: train the backbone's last stages on captions, before features are cached."""

from __future__ import annotations

from camground.features.config import FeaturesConfig
from camground.matcher.config import MatcherConfig
from camground.stages import command
from camground.study.section import Section
from camground.training.config import TuningConfig


class TuningInput(Section):
    seed: int
    features: FeaturesConfig
    matcher: MatcherConfig
    tuning: TuningConfig


def tuning(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    output_dir: command.OutputFolder,
    resume_dir: command.ResumeFolder = None,
    threads: command.Threads = 1,
) -> None:
    """Train the backbone's last stages on the study's own image-sentence pairs.

    Writes backbone.safetensors, from which `features` is computed, and the training's own files.
    """
    from camground.training.tuning import tune_backbone

    options = command.read_config(config, TuningInput)
    sections = options.tuning, options.features, options.matcher, options.seed
    tune_backbone(*sections, images, expressions, output_dir, resume_dir, threads)
