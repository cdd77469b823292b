"""The embedded data set `scenes`: its pictures and tables, made by several processes.

Every scene has its own random stream, numbered by split and index, so the same config gives the same
scenes in any number of processes. Boxes and masks go to `targets`, which only evaluation reads.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from pycocotools import mask as coco_mask

from camground.data.config import DataConfig, ScenesConfig
from camground.data.kinds import Outputs, Row, data_tables, expression_row, image_row, mark_boxed, target_row
from camground.data.rejected import Rejected
from camground.data.scenes.expressions import Expression, draw_expressions
from camground.data.scenes.layout import compose
from camground.data.scenes.semantics import SceneObject, SceneSemantics
from camground.data.scenes.word_swaps import WordSwap, draw_swaps
from camground.study.errors import UserError
from camground.study.progress import track
from camground.study.workers import end_with_parent

SPLITS = ("train", "val", "test")
ATTEMPTS = 200  # scenes drawn for one index before the config counts as impossible
BLOCK = 32  # scenes that a process makes at a time, and whose rows are a row group
PNG_COMPRESSION = 1

Job = tuple[DataConfig, str, int, int, Path, Path]  # arguments of `_block`
Rows = tuple[list[Row], list[Row], list[Row]]  # of images, expressions and targets


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


def write(config: DataConfig, data_root: Path, outputs: Outputs, processes: int | None = None) -> None:
    """Make the data set: PNGs below pictures/<split>/ and the tables.

    processes: default one per core; the result does not depend on it. Raises `UserError` for a config of
    which no scenes can be made.
    """
    pictures = outputs.pictures or outputs.images.parent
    for split in SPLITS:
        (pictures / split).mkdir(parents=True, exist_ok=True)
    relative = Path(os.path.relpath(pictures, outputs.images.parent))
    counts = {split: getattr(config.scenes, split) for split in SPLITS}
    jobs = [
        (config, split, start, min(start + BLOCK, count), pictures, relative)
        for split, count in counts.items()
        for start in range(0, count, BLOCK)
    ]
    with data_tables(outputs) as tables:
        blocks = _blocks(jobs, processes or os.cpu_count() or 1)
        for rows in track(blocks, f"blocks of {BLOCK} scenes", len(jobs)):
            for name, table_rows in zip(("images", "expressions", "targets"), rows, strict=True):
                tables.append(name, table_rows)
    Rejected().settle(sum(counts.values()), config.max_rejected_share, outputs.rejected)


def _blocks(jobs: list[Job], processes: int) -> Iterator[Rows]:
    """The rows of all blocks in order, made by so many processes."""
    if processes == 1 or len(jobs) <= 2:
        yield from itertools.starmap(_block, jobs)
        return
    # spawn: the parent may hold threads (of Arrow), which a forked child would find locked
    count, context = min(processes, len(jobs)), get_context("spawn")
    with ProcessPoolExecutor(count, context, end_with_parent, (os.getpid(),)) as pool:
        try:
            yield from pool.map(_block, *zip(*jobs, strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _block(config: DataConfig, split: str, start: int, stop: int, pictures: Path, relative: Path) -> Rows:
    """Make scenes start to stop, write their pictures, and return their rows; `relative`: the folder of the
    pictures as the tables name it."""
    cv2.setNumThreads(1)
    rows: Rows = ([], [], [])
    images, expressions, targets = rows
    side = config.scenes.image_size
    for index in range(start, stop):
        scene = make_scene(config.scenes, config.seed, split, index)
        image_id = f"{split}-{index:06d}"
        compression = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
        _, encoded = cv2.imencode(".png", scene.picture[..., ::-1], compression)
        path = Path(split, f"{image_id}.png")
        (pictures / path).write_bytes(encoded.tobytes())
        images.append(image_row(image_id, (relative / path).as_posix(), (side, side), split))
        expressions += _expressions(scene, image_id, split)
        targets += _targets(scene, image_id)
    mark_boxed(expressions, targets)
    return rows


def _expressions(scene: Scene, image_id: str, split: str) -> Iterator[Row]:
    for number, expression in enumerate(scene.expressions):
        expression_id = f"{image_id}-{number}"
        yield expression_row(expression_id, image_id, expression.text, "phrase", split)
        for swap_number, swap in enumerate(scene.swaps[number]):
            swap_id, columns = f"{expression_id}-swap{swap_number}", vars(swap) | {"swap_of": expression_id}
            yield expression_row(swap_id, image_id, kind="swap", split=split, **columns)


def _targets(scene: Scene, image_id: str) -> Iterator[Row]:
    boxes = scene.boxes_xyxy.tolist()
    categories = [each.category for each in scene.semantics.objects]
    for number, expression in enumerate(scene.expressions):
        target = expression.target
        mask = coco_mask.encode(np.asfortranarray(scene.masks[target], dtype=np.uint8))
        yield target_row(
            f"{image_id}-{number}",
            [boxes[target]],
            mask=mask["counts"],
            flavour=expression.flavour,
            category=categories[target],
            distractors=categories.count(categories[target]) - 1,
            objects_xyxy=boxes,
            object_index=target,
        )
