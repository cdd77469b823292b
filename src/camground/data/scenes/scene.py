"""One scene: a drawn picture of multi-part objects, and referring expressions with their word swaps.

Every scene has its own random stream, numbered by split and index, so the same config gives the same
scenes in any number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from camground.data.config import ScenesConfig
from camground.data.scenes.expressions import Expression, draw_expressions
from camground.data.scenes.layout import compose
from camground.data.scenes.semantics import SceneObject, SceneSemantics
from camground.data.scenes.word_swaps import WordSwap, draw_swaps
from camground.study.errors import UserError

SPLITS = ("train", "val", "test")
ATTEMPTS = 200  # scenes drawn for one index before the config counts as impossible


@dataclass(frozen=True)
class Scene:
    """picture (side, side, 3) uint8 RGB; masks (n, side, side) bool of what is seen; boxes_xyxy
    (n, 4) int around the masks, in pixels; semantics of the n objects; the swaps of each expression."""

    picture: np.ndarray
    masks: np.ndarray
    boxes_xyxy: np.ndarray
    semantics: SceneSemantics
    expressions: list[Expression]
    swaps: list[list[WordSwap]]


def _stream(seed: int, *key: int) -> Generator:
    return Generator(PCG64(SeedSequence(seed, spawn_key=key)))


def make_scene(config: ScenesConfig, seed: int, split: str, index: int) -> Scene:
    """The scene of that number; `UserError` if none of ATTEMPTS draws could be told apart in words."""
    key = SPLITS.index(split), index
    rng = _stream(seed, *key)
    side = config.image_size
    for _ in range(ATTEMPTS):
        count = int(rng.integers(config.min_objects, config.max_objects + 1))
        layout = compose(side, count, rng)
        if layout is None:
            continue
        boxes = np.array([_box(mask) for mask in layout.masks])
        objects = [
            SceneObject(*kind, box=tuple(box))
            for kind, box in zip(layout.kinds, (boxes / side).tolist(), strict=True)
        ]
        semantics = SceneSemantics(objects, layout.hides)
        count = config.expressions_per_scene
        expressions = draw_expressions(semantics, count, config.flavours, rng)
        if expressions is not None:
            # a stream of its own: the scenes and their expressions do not depend on the swaps
            swaps_rng = _stream(seed, *key, 1)
            swaps = [
                draw_swaps(semantics, expression, config.swaps_per_expression, swaps_rng)
                for expression in expressions
            ]
            return Scene(layout.picture, layout.masks, boxes, semantics, expressions, swaps)
    raise UserError(
        f"no scene {index} of split {split} with {config.expressions_per_scene} unambiguous expressions"
        f" in {ATTEMPTS} draws; lower data.scenes.expressions_per_scene or raise"
        " data.scenes.min_objects"
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
