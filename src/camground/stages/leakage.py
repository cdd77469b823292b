"""Stage `leakage`: photographs that are both trained and evaluated on."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from camground.stages.command import Folder, OutputFile


def leakage(
    data_root: Folder,
    dataset: Annotated[str, typer.Option(help="Folder in it, such as refcoco.")],
    split_by: Annotated[str, typer.Option(help="Of refs(<split-by>).p, such as unc.")],
    output: OutputFile,
    allow: Annotated[
        Literal["all", "siblings", "nothing"], typer.Option(help="What may be shared.")
    ] = "nothing",
) -> None:
    """List the photographs of a REFER data set that are both trained and evaluated on.

    Compares the data set's splits with one another and with those of its siblings in --data-root.
    """
    from camground.data.leakage import list_leakage

    list_leakage(data_root, dataset, split_by, allow, output)
