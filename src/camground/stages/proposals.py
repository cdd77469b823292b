"""Stage `proposals`: the candidate boxes of every image; and the tool that fits their objectness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.proposals.config import ProposalsConfig
from camground.stages.command import ConfigText, ImagesFile, OutputFile, Threads, read_config
from camground.study.section import Section


class ProposalsInput(Section):
    proposals: ProposalsConfig = ProposalsConfig()


def proposals(
    config: ConfigText,
    images: ImagesFile,
    output: OutputFile,
    rejected: Annotated[Path | None, typer.Option(help="Table to write, of method boxes_file alone.")] = None,
    threads: Threads = 1,
) -> None:
    """Find candidate boxes in every image.

    By the method that proposals.method names: selective search, a published detector, or a file of boxes that
    another program found.
    """
    from camground.proposals.table import write_proposals

    options = read_config(config, ProposalsInput)
    write_proposals(options.proposals, images, output, {"rejected": rejected}, threads)


def objectness(
    seed: Annotated[int, typer.Option(help="Seed of the drawn pictures.")] = 0,
    pictures: Annotated[int, typer.Option(help="Number of drawn pictures.")] = 600,
) -> None:
    """Fit selective search's objectness on drawn pictures, and print its weights."""
    from camground.proposals.objectness_fit import fitted_weights

    typer.echo(fitted_weights(seed, pictures))
