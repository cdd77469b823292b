"""Rows of the data tables that the readers of data sets share, and writing them as they are made."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from camground.study import tables

BATCH = 1024


def expression_row(expression_id: str, image_id: str, text: str, kind: str, split: str) -> dict:
    """A row of table `expressions` that is no word swap. kind: "phrase" or "sentence"."""
    return {
        "expression_id": expression_id,
        "image_id": image_id,
        "text": text,
        "kind": kind,
        "split": split,
        "swap_of": None,
        "word_class": None,
        "false_of_image": None,
    }


def write_batches(name: str, rows: Iterable[dict], path: Path) -> int:
    """Write table `name` in batches, so that memory does not grow with it; the number of its rows."""
    count = 0
    remaining = iter(rows)
    with tables.writer(name, path) as writer:
        while batch := list(islice(remaining, BATCH)):
            writer.append(batch)
            count += len(batch)
    return count
