"""Image-sentence pairs in memory: what every dataset becomes for training. No box is in it."""

from __future__ import annotations

import itertools
import re
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
    """S expressions with one word changed: their texts, ids and word classes; origin (S,) int: row of the
    expression that each was made from; false (S,) bool: known to be false of the image."""

    texts: list[str]
    ids: list[str]
    word_classes: list[str]
    origin: np.ndarray
    false: np.ndarray


def _without_swaps(images: list[int], expressions: list[int], owner: list[int]) -> PairBatch:
    no_swaps = np.full(len(expressions), -1)
    return PairBatch(np.array(images), np.array(expressions), np.array(owner), no_swaps)


def _grouped(keys: np.ndarray) -> dict[int, np.ndarray]:
    """The rows of each key, in order; keys (N,) int."""
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True) if len(keys) else [])


def _words(text: str) -> str:
    """A text's words, with a blank before and after each."""
    return " ".join(["", *re.findall(r"\w+", text.lower()), ""])


class Pairs:
    """The image-sentence pairs of one split.

    texts, expression_ids: lists of N; image_rows (N,): row of the `images` table of each;
    text_ids (N,): equal for equal texts; measured (N,) bool: whose answers can be measured, or all where the
    split has no boxes at all; swaps: those of these texts.
    """

    def __init__(self, images: str | Path, expressions: str | Path, split: str, kinds: Sequence[str]) -> None:
        image_table = tables.read("images", images, ["image_id"])
        of_split = tables.read("expressions", expressions)
        of_split = of_split[of_split["split"] == split]
        table = of_split[of_split["kind"].isin(kinds)]
        row_of = {image_id: row for row, image_id in enumerate(image_table["image_id"])}
        unknown = [image_id for image_id in table["image_id"] if image_id not in row_of]
        if unknown:
            raise UserError(f"{expressions}: image {unknown[0]!r} is not in {images}; rerun `data`")
        self.split = split
        self.texts: list[str] = table["text"].tolist()
        self.expression_ids: list[str] = table["expression_id"].tolist()
        self.image_rows = np.array([row_of[image_id] for image_id in table["image_id"]], dtype=int)
        _, self.text_ids = np.unique(np.array(self.texts, dtype=object), return_inverse=True)
        boxed = table["boxed"].eq(True).to_numpy(dtype=bool)
        self.measured = boxed if boxed.any() else np.ones(len(boxed), dtype=bool)
        self.swaps = self._read_swaps(of_split)
        captions = of_split[(of_split["kind"] == "sentence") & of_split["image_id"].isin(row_of)]
        self._captions: dict[int, list[str]] = {}
        for image_id, text in zip(captions["image_id"], captions["text"], strict=True):
            self._captions.setdefault(row_of[image_id], []).append(_words(text))
        self._expressions_of_image = _grouped(self.image_rows)
        self._swaps_of_expression = _grouped(self.swaps.origin)
        _, word_class, count = np.unique(self.swaps.word_classes, return_inverse=True, return_counts=True)
        # balanced by class, or size and pattern would hardly be learnt
        self._swap_weight = 1.0 / count[word_class]

    def _read_swaps(self, expressions: pd.DataFrame) -> Swaps:
        row_of = {expression_id: row for row, expression_id in enumerate(self.expression_ids)}
        is_swap = (expressions["kind"] == "swap") & expressions["swap_of"].isin(row_of)
        table = expressions[is_swap]
        return Swaps(
            table["text"].tolist(),
            table["expression_id"].tolist(),
            table["word_class"].tolist(),
            np.array([row_of[origin] for origin in table["swap_of"]], dtype=int),
            table["false_of_image"].to_numpy(dtype=bool),
        )

    def side_by_side(self, batch: PairBatch) -> np.ndarray:
        """(M, M) bool, symmetric: which of a batch's M expressions one caption of their image has, each in
        words of its own."""
        together = np.zeros((len(batch.expressions),) * 2, dtype=bool)
        words = [_words(self.texts[row]) for row in batch.expressions]
        for image in np.flatnonzero(np.bincount(batch.owner) > 1):
            captions = self._captions.get(int(batch.images[image]), [])
            for a, b in itertools.combinations(np.flatnonzero(batch.owner == image).tolist(), 2):
                one, other = words[a], words[b]
                # the rest of a caption, without the one's words, still has the other's
                found = any(one in each and other in each.replace(one, " | ", 1) for each in captions)
                together[a, b] = together[b, a] = found and one not in other and other not in one
        return together

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def images(self) -> list[int]:
        """Rows of the images that have at least one expression here."""
        return list(self._expressions_of_image)

    def epoch(
        self, batch_size: int, per_image: int, rng: np.random.Generator, limit: int | None = None
    ) -> Iterator[PairBatch]:
        """Every image once in random order, with up to `per_image` random expressions of each, and of
        each expression one random swap, more likely of a word class that has few swaps. `limit`: only so many
        images, drawn anew each time."""
        rows = rng.permutation(np.array(self.images, dtype=int))[:limit]
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            if len(chosen) < min(batch_size, 2):
                return  # one image alone has no negatives
            expressions, owner = [], []
            for index, row in enumerate(chosen):
                drawn = rng.permutation(self._expressions_of_image[int(row)])[:per_image]
                expressions += drawn.tolist()
                owner += [index] * len(drawn)
            swaps = [self._random_swap(row, rng) for row in expressions]
            yield PairBatch(chosen, np.array(expressions), np.array(owner), np.array(swaps))

    def _random_swap(self, expression: int, rng: np.random.Generator) -> int:
        swaps = self._swaps_of_expression.get(expression)
        if swaps is None:
            return -1
        bounds = np.cumsum(self._swap_weight[swaps])
        return int(swaps[np.searchsorted(bounds, rng.random() * bounds[-1], side="right")])

    def batches_per_epoch(self, batch_size: int, limit: int | None = None) -> int:
        """How many batches `epoch` gives."""
        count = len(self._expressions_of_image)
        whole, rest = divmod(count if limit is None else min(limit, count), batch_size)
        return whole + (rest >= min(batch_size, 2))

    def in_order(self, size: int, only: np.ndarray | None = None) -> Iterator[PairBatch]:
        """Every expression once, or those where `only` (N,) bool holds, grouped by image, in batches of about
        `size` expressions."""
        images: list[int] = []
        expressions: list[int] = []
        owner: list[int] = []
        for row, of_image in self._expressions_of_image.items():
            if only is not None:
                of_image = of_image[only[of_image]]
            if not len(of_image):
                continue
            for part in np.array_split(of_image, -(-len(of_image) // size)):
                if expressions and len(expressions) + len(part) > size:
                    yield _without_swaps(images, expressions, owner)
                    images, expressions, owner = [], [], []
                owner += [len(images)] * len(part)
                images.append(row)
                expressions += part.tolist()
        if expressions:
            yield _without_swaps(images, expressions, owner)
