"""Stage `data`: the tables images, expressions, targets and rejected of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.data.config import DataConfig
from camground.stages.command import ConfigText, read_config
from camground.study.section import FilePath, Section


class DataInput(Section):
    dataset: str = ""
    data_root: FilePath | None = None
    data: DataConfig


def data(
    config: ConfigText,
    images: Annotated[Path, typer.Option(help="Table of images to write.")],
    expressions: Annotated[Path, typer.Option(help="Table of expressions to write.")],
    targets: Annotated[Path, typer.Option(help="Table of true boxes and masks to write.")],
    rejected: Annotated[Path, typer.Option(help="Table of refused input rows to write.")],
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for the pictures of a kind that makes them.")
    ] = None,
) -> None:
    """Make the scenes, or read photographs or a benchmark, into the tables of all stages."""
    from camground.data.kinds import Outputs, write_data

    options = read_config(config, DataInput)
    outputs = Outputs(images, expressions, targets, rejected, pictures)
    write_data(options.data, options.data_root, outputs)
