"""Stage `features`: the frozen backbone's and language encoder's outputs, computed once."""

from __future__ import annotations

from camground.features.config import FeaturesConfig
from camground.stages import command
from camground.study.section import Section


class FeaturesInput(Section):
    features: FeaturesConfig = FeaturesConfig()


def features(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    output_dir: command.OutputFolder,
    threads: command.Threads = 1,
) -> None:
    """Compute the frozen features of every image and text.

    Writes the cache that the matcher and every variant and seed train on: visual.npy, tokens.npy,
    texts.parquet and features.json.
    """
    from camground.features.cache import write_features

    options = command.read_config(config, FeaturesInput)
    write_features(options.features, images, expressions, output_dir, threads)
