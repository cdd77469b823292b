"""Stage `gradcam`: the Grad-CAM of every expression, of the study's matcher or of a pretrained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.matcher.config import GradcamConfig
from camground.stages.command import ConfigText, ExpressionsFile, ImagesFile, OutputFile, Threads, read_config
from camground.study.section import Section


class GradcamInput(Section):
    gradcam: GradcamConfig = GradcamConfig()


def gradcam(
    config: ConfigText,
    images: ImagesFile,
    expressions: ExpressionsFile,
    output: OutputFile,
    features: Annotated[
        Path | None, typer.Option(help="Folder of the feature cache; of source matcher alone.")
    ] = None,
    matcher: Annotated[
        Path | None, typer.Option(help="Folder of its checkpoint; of source matcher alone.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Draw the Grad-CAM of every phrase on its image.

    Of the study's own matcher, from the feature cache, or of a pretrained vision-language model
    (gradcam.source), from the photographs, with the grid of that model.
    """
    from camground.matcher.cam_table import write_cams

    options = read_config(config, GradcamInput)
    write_cams(options.gradcam, images, expressions, output, features, matcher, threads)
