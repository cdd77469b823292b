"""The maps of many expressions, as the tables `cams` and `predictions` hold them, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from camground.study import tables
from camground.study.errors import UserError


def to_bytes(cam: np.ndarray) -> bytes:
    """A map (H, W) in [0, 1] as the tables hold it: one byte per cell, row-major."""
    cells: np.ndarray = np.rint(np.clip(cam, 0, 1) * 255).astype(np.uint8)
    return cells.tobytes()


@dataclass(frozen=True)
class Maps:
    """N maps, some absent. sizes: (N, 2) int, height and width, 0 if absent. data: uint8 bytes."""

    sizes: np.ndarray
    data: list[bytes | None]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def present(self) -> np.ndarray:
        """(N,) bool: which maps there are."""
        present: np.ndarray = self.sizes.prod(axis=1) > 0
        return present

    @property
    def nonzero(self) -> np.ndarray:
        """(N,) bool: which maps there are and say something; one of zeros says nothing of where to look."""
        return np.array([content is not None and any(content) for content in self.data], dtype=bool)

    def stack(self, rows: np.ndarray) -> np.ndarray:
        """The maps at these rows (M,), all of one size, as (M, h, w) float32 in [0, 1]."""
        height, width = self.sizes[rows[0]]
        joined = b"".join(self.data[row] or b"" for row in rows)
        flat = np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), height, width)
        return flat.astype(np.float32) / 255

    def batches(self, keys: np.ndarray, cells: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of present maps that agree in size and in `keys` (N, k), at most 4 million of `cells` (N,) in
        a batch, so that memory stays bounded."""
        present = np.flatnonzero(self.present)
        if not len(present):
            return
        groups = pd.DataFrame(np.concatenate([self.sizes, keys], axis=1)[present])
        for _, group in groups.groupby(list(groups.columns), sort=True):
            members = present[group.index.to_numpy()]
            step = max(1, 4_000_000 // max(1, int(cells[members[0]])))
            for start in range(0, len(members), step):
                yield members[start : start + step]


def absent(count: int) -> Maps:
    """`count` absent maps."""
    return Maps(np.zeros((count, 2), dtype=np.int64), [None] * count)


def cams_file(gradcam: Path, seed: int) -> Path:
    """The table `cams` of a seed in the results folder of the stage `gradcam`."""
    return gradcam / f"seed{seed}" / "cams.parquet"


def read_cams(path: str | Path, expression_ids: pd.Index) -> Maps:
    """The maps of `expression_ids`, in their order, from a `cams` table; others are passed over."""
    sizes = np.zeros((len(expression_ids), 2), dtype=np.int64)
    data: list[bytes | None] = [None] * len(expression_ids)
    for batch in tables.batches("cams", path, size=4096):
        fill(sizes, data, batch, expression_ids, ("height", "width", "map"), path)
    return Maps(sizes, data)


def fill(
    sizes: np.ndarray,
    data: list[bytes | None],
    rows: pd.DataFrame,
    expression_ids: pd.Index,
    columns: tuple[str, str, str],
    path: str | Path,
) -> None:
    """Put the maps of `rows` (columns: height, width, bytes) where their expressions stand."""
    index = expression_ids.get_indexer(pd.Index(rows["expression_id"]))
    height, width, content = (rows[column] for column in columns)
    for i, h, w, map_bytes, name in zip(index, height, width, content, rows["expression_id"], strict=True):
        if i < 0 or map_bytes is None:
            continue
        if pd.isna(h) or pd.isna(w) or int(h) * int(w) != len(map_bytes):
            raise UserError(
                f"{path}: the map of expression {name} has {len(map_bytes)} bytes, not"
                f" height * width = {h} * {w}; rerun the stage that writes it"
            )
        sizes[i], data[i] = (int(h), int(w)), map_bytes
