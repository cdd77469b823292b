"""The stage `data` as the workflow calls it, and a look at what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from camground.stages.data import data
from camground.study import tables

NAMES = ("images", "expressions", "targets", "rejected")


def run_data(out: Path, kind: str, data_root: Path | None = None, share: float = 0.0, **keys: Any) -> Path:
    """Write the tables into `out`, with `keys` of the kind's section; `out`. share: of rejected rows."""
    section = {"kind": kind, "max_rejected_share": share, kind: keys}
    root = None if data_root is None else str(data_root)
    config = json.dumps({"dataset": "test", "data_root": root, "data": section})
    data(config, *(out / f"{name}.parquet" for name in NAMES), pictures=out / "pictures")
    return out


def table(out: Path, name: str) -> pd.DataFrame:
    return tables.read(name, out / f"{name}.parquet")


def rejected(out: Path) -> list[tuple[str, int, str, str]]:
    """File name, row, value and reason of each rejected row."""
    return [
        (Path(row.file).name, row.row, row.value, row.reason) for row in table(out, "rejected").itertuples()
    ]
