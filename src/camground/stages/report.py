"""Stage `report`, and the tools that check its published numbers and write a study as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.report.config import ReportInput
from camground.stages.command import ConfigText, OutputFile, ResultsFolder, read_config


def report(
    config: ConfigText,
    root: ResultsFolder,
    output: OutputFile,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the PNGs (default: figures in --root).")
    ] = None,
) -> None:
    """Show the study as one HTML file that opens offline, and its main charts as PNG."""
    from camground.report.page import write_report

    write_report(root, output, figures or root / "figures", read_config(config, ReportInput))


def document(
    results: ResultsFolder,
    output: OutputFile,
    command: Annotated[str, typer.Option(help="What reruns the study, to be quoted.")],
    commit: Annotated[
        str | None, typer.Option(help="Of the code that ran it (default: the checkout's).")
    ] = None,
) -> None:
    """Write a finished study as a Markdown document."""
    from camground.report.document import write_document
    from camground.study.provenance import git_sha

    write_document(results, output, command, commit or git_sha())


def published(
    table: Annotated[
        Path | None, typer.Argument(help="A table of published numbers (default: the package's).")
    ] = None,
) -> None:
    """Check the table of published numbers and list what it holds and lacks."""
    from camground.report.published import TABLE, check_published

    check_published(table or TABLE)
