"""Stage `methods`: somebody else's boxes, of a file or a detector, as predictions; it reads no target."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from camground.evaluation.config import PROMPTED, EvaluateConfig, MethodConfig
from camground.stages import command
from camground.study.section import Section


class MethodsInput(Section):
    """What `--config` holds: the one method, by its name, and the evaluated splits."""

    evaluate: EvaluateConfig
    methods: dict[str, MethodConfig]


def methods(
    config: command.ConfigText,
    images: command.ImagesFile,
    expressions: command.ExpressionsFile,
    rejected: Annotated[Path, typer.Option(help="Table of refused entries to write (Parquet).")],
    output: command.OutputFile,
    threads: command.Threads = 1,
) -> None:
    """Read a method's file of boxes, or prompt its detector with every expression, into the table of
    predictions."""
    from camground.evaluation.methods import read_answers
    from camground.study import tables

    options = command.read_config(config, MethodsInput)
    ((name, method),) = options.methods.items()
    task = name, method, images, expressions, options.evaluate.splits, rejected
    rows = read_answers(*task) if method.detector is None else resolve_name(PROMPTED)(*task, threads)
    tables.write("predictions", rows, output)
