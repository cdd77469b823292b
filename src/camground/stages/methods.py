"""Stage `methods`: somebody else's boxes as predictions; it reads no target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.evaluation.config import EvaluateConfig, MethodConfig
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
) -> None:
    """Read a method's file of boxes into the table of predictions."""
    from camground.evaluation.methods import read_answers
    from camground.study import tables

    options = command.read_config(config, MethodsInput)
    ((name, method),) = options.methods.items()
    rows = read_answers(name, method, images, expressions, options.evaluate.splits, rejected)
    tables.write("predictions", rows, output)
