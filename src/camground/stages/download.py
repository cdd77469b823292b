"""Stage `download`: public data sets, downloaded, checked and unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def download(
    names: Annotated[list[str] | None, typer.Argument(help="Sources of the table.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A data set: all sources that it needs.")] = None,
    root: Annotated[Path, typer.Option(help="Root of the data.")] = Path("data"),
    sources: Annotated[
        Path | None,
        typer.Option(envvar="CAMGROUND_SOURCES", help="A table of mirrors, laid over the packaged one."),
    ] = None,
    list_sources: Annotated[
        bool, typer.Option("--list", help="Print the table of sources and exit.")
    ] = False,
) -> None:
    """Download, check and unpack public data sets, or say what to do by hand.

    Archives and receipts are kept in downloads/ below the root.
    Data that is already in its folder is taken as it is.
    """
    from camground.data.download.fetch import fetch_all, listing
    from camground.data.download.sources import TABLE, read_sources

    table = read_sources(sources or TABLE)
    if list_sources:
        typer.echo(listing(table))
    else:
        fetch_all(names or (), dataset, root, table)
