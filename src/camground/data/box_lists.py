"""Lists of boxes of different lengths, one per expression or image, without a Python loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class BoxLists:
    """N lists of boxes, stored end to end.

    boxes_xyxy: (T, 4) float64, pixels. counts: (N,) int64, boxes of each list; their sum is T.
    """

    boxes_xyxy: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray) -> BoxLists:
        """From a column of type `schemas.BOXES`; a null is an empty list."""
        array = column.combine_chunks()
        counts = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        return cls(boxes_of(array.flatten()), counts.astype(np.int64))

    @cached_property
    def starts(self) -> np.ndarray:
        """(N,) row of each list's first box."""
        return np.asarray(np.cumsum(self.counts) - self.counts)

    @cached_property
    def owner(self) -> np.ndarray:
        """(T,) number of the list that each box belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def position(self) -> np.ndarray:
        """(T,) index of each box in its list, from 0."""
        return np.asarray(np.arange(len(self.boxes_xyxy)) - self.starts[self.owner])

    def take(self, lists: np.ndarray) -> BoxLists:
        """The lists of these indices (M,), in that order; one may come again; -1: an empty list."""
        lists = np.asarray(lists, dtype=np.int64)
        counts = np.where(lists >= 0, self.counts[lists] if len(self) else 0, 0)
        starts = np.where(lists >= 0, self.starts[lists] if len(self) else 0, 0)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return BoxLists(self.boxes_xyxy[np.repeat(starts, counts) + within], counts)

    def maximum(self, values: np.ndarray, empty: float = 0.0) -> np.ndarray:
        """(N,) largest of `values` (T,) in each list; `empty` for a list without boxes."""
        out = np.full(len(self), empty, dtype=np.float64)
        filled = self.counts > 0
        if filled.any():
            out[filled] = np.maximum.reduceat(values, self.starts[filled])
        return out

    def argmax(self, values: np.ndarray) -> np.ndarray:
        """(N,) index of each list's largest of `values` (T,), the first of equals; -1 if empty."""
        best = self.maximum(values, empty=-np.inf)
        out = np.full(len(self), -1, dtype=np.int64)
        hits = np.flatnonzero(values == best[self.owner])[::-1]
        out[self.owner[hits]] = self.position[hits]
        return out

    def merged(self) -> BoxLists:
        """Each list replaced by the one box around its boxes; an empty list stays empty."""
        filled = self.counts > 0
        if not filled.any():
            return self
        starts = self.starts[filled]
        low = np.minimum.reduceat(self.boxes_xyxy[:, :2], starts)
        high = np.maximum.reduceat(self.boxes_xyxy[:, 2:], starts)
        return BoxLists(np.concatenate([low, high], axis=1), filled.astype(np.int64))


def boxes_of(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(T, 4) float64 of an Arrow array of type `schemas.BOX` without nulls."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    flat: np.ndarray = array.flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float64).reshape(-1, 4)
