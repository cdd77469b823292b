"""Image-sentence pairs in memory: what every dataset becomes for training. No box is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from camground.study import tables
from camground.study.errors import UserError


@dataclass(frozen=True)
class PairBatch:
    """Some images and some of their expressions, as indices.

    images (B,): rows of the `images` table. expressions (M,): rows of `Pairs.texts`.
    owner (M,): for each expression the index in `images` of its photograph.
    swaps (M,): for each expression a row of `Pairs.swaps`, -1 where it has none.
    """

    images: np.ndarray
    expressions: np.ndarray
    owner: np.ndarray
    swaps: np.ndarray


@dataclass(frozen=True)
class Swaps:
    """Expressions with one word changed: texts, ids and word classes of S; of (S,): row of the
    expression each was made from; false (S,) bool: known to be false of the image."""

    texts: list[str]
    ids: list[str]
    word_classes: list[str]
    of: np.ndarray
    false: np.ndarray


def _without_swaps(images: list[int], expressions: list[int], owner: list[int]) -> PairBatch:
    none = np.full(len(expressions), -1)
    return PairBatch(np.array(images), np.array(expressions), np.array(owner), none)


class Pairs:
    """The image-sentence pairs of one split.

    texts, expression_ids: lists of N; image_rows (N,): row of the `images` table of each;
    text_ids (N,): equal for equal texts; swaps: those of these texts.
    """

    def __init__(
        self, images: str | Path, expressions: str | Path, split: str, kinds: Sequence[str]
    ) -> None:
        image_table = tables.read("images", images, ["image_id"])
        every = tables.read("expressions", expressions)
        every = every[every["split"] == split]
        table = every[every["kind"].isin(kinds)]
        row_of = {image_id: row for row, image_id in enumerate(image_table["image_id"])}
        unknown = [image_id for image_id in table["image_id"] if image_id not in row_of]
        if unknown:
            raise UserError(f"{expressions}: image {unknown[0]!r} is not in {images}; rerun `data`")
        self.split = split
        self.texts: list[str] = table["text"].tolist()
        self.expression_ids: list[str] = table["expression_id"].tolist()
        self.image_rows = np.array([row_of[image_id] for image_id in table["image_id"]], dtype=int)
        _, self.text_ids = np.unique(np.array(self.texts, dtype=object), return_inverse=True)
        order = np.argsort(self.image_rows, kind="stable")
        rows, starts = np.unique(self.image_rows[order], return_index=True)
        self._of_image = dict(
            zip(rows.tolist(), np.split(order, starts[1:]), strict=True) if len(rows) else []
        )

        self.swaps = self._read_swaps(every)
        order = np.argsort(self.swaps.of, kind="stable")
        rows, starts = np.unique(self.swaps.of[order], return_index=True)
        self._swaps_of = dict(
            zip(rows.tolist(), np.split(order, starts[1:]), strict=True) if len(rows) else []
        )

    def _read_swaps(self, every: pd.DataFrame) -> Swaps:
        place = {expression_id: row for row, expression_id in enumerate(self.expression_ids)}
        table = every[(every["kind"] == "swap") & every["swap_of"].isin(place)]
        return Swaps(
            table["text"].tolist(),
            table["expression_id"].tolist(),
            table["word_class"].tolist(),
            np.array([place[one] for one in table["swap_of"]], dtype=int),
            table["false_of_image"].to_numpy(dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def images(self) -> list[int]:
        """Rows of the images that have at least one expression here."""
        return list(self._of_image)

    def epoch(
        self, batch_size: int, per_image: int, rng: np.random.Generator, most: int | None = None
    ) -> Iterator[PairBatch]:
        """Every image once in random order, with up to `per_image` random expressions of each, and of
        each expression one random swap. `most`: only so many images, drawn anew each time."""
        rows = rng.permutation(np.array(self.images, dtype=int))[:most]
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            if len(chosen) < min(batch_size, 2):
                return  # one image alone has no negatives
            expressions, owner = [], []
            for index, row in enumerate(chosen):
                mine = self._of_image[int(row)]
                taken = rng.permutation(mine)[:per_image]
                expressions += taken.tolist()
                owner += [index] * len(taken)
            swaps = [self._random_swap(row, rng) for row in expressions]
            yield PairBatch(chosen, np.array(expressions), np.array(owner), np.array(swaps))

    def _random_swap(self, expression: int, rng: np.random.Generator) -> int:
        mine = self._swaps_of.get(expression)
        return -1 if mine is None else int(mine[int(rng.integers(len(mine)))])

    def batches_per_epoch(self, batch_size: int, most: int | None = None) -> int:
        count = len(self._of_image)
        whole, rest = divmod(count if most is None else min(most, count), batch_size)
        return whole + (rest >= min(batch_size, 2))

    def in_order(self, size: int) -> Iterator[PairBatch]:
        """Every expression once, grouped by image, in batches of about `size` expressions."""
        images: list[int] = []
        expressions: list[int] = []
        owner: list[int] = []
        for row, mine in self._of_image.items():
            for part in np.array_split(mine, -(-len(mine) // size)):
                if expressions and len(expressions) + len(part) > size:
                    yield _without_swaps(images, expressions, owner)
                    images, expressions, owner = [], [], []
                owner += [len(images)] * len(part)
                images.append(row)
                expressions += part.tolist()
        if expressions:
            yield _without_swaps(images, expressions, owner)
