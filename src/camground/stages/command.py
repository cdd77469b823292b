"""What the commands share: the types of their options, reading `--config`, and how an error looks.

A command is a plain function whose parameters are annotated with the types below; a parameter `train_dir`
is the option `--train-dir`. `camground.cli` makes it `camground <name>`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer
from typer.core import TyperCommand

from camground.study.errors import UserError, storage_error
from camground.study.progress import log, start_log
from camground.study.section import Section

SectionType = TypeVar("SectionType", bound=Section)

ConfigText = Annotated[
    str, typer.Option(metavar="JSON", help="The stage's part of the config: JSON text or a JSON file.")
]
Threads = Annotated[
    int, typer.Option(min=1, help="Processor threads, or worker processes in stages that use them.")
]
OutputFile = Annotated[Path, typer.Option(help="File to write.")]
Folder = Annotated[Path, typer.Option(help="Folder to read.")]
OutputFolder = Annotated[Path, typer.Option(help="Folder to write.")]

ImagesFile = Annotated[Path, typer.Option(help="Table of images (Parquet).")]
ExpressionsFile = Annotated[Path, typer.Option(help="Table of expressions (Parquet).")]
TargetsFile = Annotated[Path, typer.Option(help="Table of true boxes and masks (Parquet).")]
ProposalsFile = Annotated[Path, typer.Option(help="Table of proposals (Parquet).")]
CamsFile = Annotated[Path, typer.Option(help="Table of the matcher's CAMs (Parquet).")]
PredictionsFile = Annotated[Path, typer.Option(help="Table of predictions (Parquet).")]
FeaturesFolder = Annotated[Path, typer.Option(help="Folder of the feature cache.")]
CheckpointFolder = Annotated[
    Path, typer.Option(help="Folder with checkpoint.safetensors and its config.yaml.")
]
ResumeFolder = Annotated[
    Path | None, typer.Option(help="Folder to resume an interrupted training from; emptied when it ends.")
]
ResultsFolder = Annotated[Path, typer.Option(help="Folder of the data set's results.")]


def read_config(text: str, section: type[SectionType]) -> SectionType:
    """`--config` as a `section`: JSON text, as the workflow passes it, or the path of a JSON file.

    Raises `UserError` when it is neither, or names every key that the section refuses.
    """
    try:
        value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--config is neither JSON text nor a JSON file: {error}") from None
    if not isinstance(value, dict):
        raise UserError("--config must hold a JSON object")
    return section.parse(value)


def to_command(name: str, function: Callable[..., None]) -> TyperCommand:
    """`function` as the command `name`; a `UserError`, or a disk that cannot be written, ends it with
    one line and exit status 1."""

    @functools.wraps(function)
    def logged(*arguments: Any, **options: Any) -> None:
        start_log(name)
        try:
            function(*arguments, **options)
        except Exception as error:
            told = error if isinstance(error, UserError) else storage_error(error)
            if told is None:
                raise
            log.error("error: %s", told)
            raise typer.Exit(1) from None

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(logged)
    return cast(TyperCommand, typer.main.get_command(app))
