"""The embedded data set `scenes`: drawn pictures of multi-part objects, with referring expressions.

Every scene has its own random stream, numbered by split and index, so the same config gives the same
bytes with any number of processes. Boxes and masks go to `targets`, which only evaluation reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from camground.data.scenes.describe import Expression, expressions
from camground.data.scenes.facts import Facts, Item
from camground.data.scenes.grammar import FLAVOURS
from camground.data.scenes.layout import compose
from camground.data.scenes.swaps import Swap, swaps
from camground.study import progress, tables
from camground.study.errors import UserError

SPLITS = ("train", "val", "test")
SIDES = (64, 512)  # the least and most that image_size may be
MOST_OBJECTS = 10
ATTEMPTS = 200  # scenes drawn for one index before the config counts as impossible
BLOCK = 32  # scenes that a process makes at a time
PNG_COMPRESSION = 1


@dataclass(frozen=True)
class Settings:
    """The checked `data.scenes` of a config, with `data.seed`."""

    seed: int
    image_size: int
    counts: dict[str, int]
    min_objects: int
    max_objects: int
    expressions_per_scene: int
    swaps_per_expression: int
    flavours: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """picture (side, side, 3) uint8 RGB; masks (n, side, side) bool of what is seen; boxes_xyxy
    (n, 4) int around the masks, in pixels; facts and expressions about the n objects."""

    picture: np.ndarray
    masks: np.ndarray
    boxes_xyxy: np.ndarray
    facts: Facts
    expressions: list[Expression]
    swaps: list[list[Swap]]  # of each expression


def _whole(config: dict[str, Any], key: str, low: int, high: int | None = None) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"data.scenes.{key} is {value!r}; it must be a whole number")
    if value < low or (high is not None and value > high):
        bound = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UserError(f"data.scenes.{key} is {value}; it must be {bound}")
    return value


def settings(config: dict[str, Any]) -> Settings:
    """Check the `data` section; `UserError` where no scene could be made of it."""
    try:
        seed, scenes = config["seed"], config["scenes"]
        least = _whole(scenes, "min_objects", 2, MOST_OBJECTS)
        most = _whole(scenes, "max_objects", 2, MOST_OBJECTS)
        flavours = tuple(scenes["flavours"])
        made = Settings(
            seed=seed,
            image_size=_whole(scenes, "image_size", *SIDES),
            counts={split: _whole(scenes, split, 0) for split in SPLITS},
            min_objects=least,
            max_objects=most,
            expressions_per_scene=_whole(scenes, "expressions_per_scene", 1, 24),
            swaps_per_expression=_whole(scenes, "swaps_per_expression", 0, 8),
            flavours=flavours,
        )
    except KeyError as error:
        raise UserError(f"the config's data section lacks the key {error}") from None
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"data.seed is {seed!r}; it must be a whole number, 0 or more")
    if least > most:
        raise UserError(
            f"data.scenes.min_objects ({least}) is above data.scenes.max_objects ({most}); lower it"
        )
    unknown = [flavour for flavour in flavours if flavour not in FLAVOURS]
    if unknown or not flavours or len(set(flavours)) < len(flavours):
        raise UserError(
            f"data.scenes.flavours is {list(flavours)}; it must name some of {list(FLAVOURS)}, each once"
        )
    return made


def make(wanted: Settings, split: str, index: int) -> Scene:
    """The scene of that number; `UserError` if none of ATTEMPTS draws could be told apart in words."""
    stream = np.random.SeedSequence(wanted.seed, spawn_key=(SPLITS.index(split), index))
    rng = np.random.Generator(np.random.PCG64(stream))
    side = wanted.image_size
    for _ in range(ATTEMPTS):
        count = int(rng.integers(wanted.min_objects, wanted.max_objects + 1))
        placed = compose(side, count, rng)
        if placed is None:
            continue
        boxes = np.array([_box(mask) for mask in placed.masks])
        items = [
            Item(*kind, box=tuple(box))
            for kind, box in zip(placed.kinds, (boxes / side).tolist(), strict=True)
        ]
        facts = Facts(items, placed.hides)
        told = expressions(facts, wanted.expressions_per_scene, wanted.flavours, rng)
        if told is not None:
            # a stream of its own: the scenes and their expressions do not depend on the swaps
            other = np.random.SeedSequence(wanted.seed, spawn_key=(SPLITS.index(split), index, 1))
            changes = np.random.Generator(np.random.PCG64(other))
            changed = [swaps(facts, one, wanted.swaps_per_expression, changes) for one in told]
            return Scene(placed.picture, placed.masks, boxes, facts, told, changed)
    raise UserError(
        f"no scene {index} of split {split} with {wanted.expressions_per_scene} unambiguous expressions"
        f" in {ATTEMPTS} draws; lower data.scenes.expressions_per_scene or raise"
        " data.scenes.min_objects"
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _rows(scene: Scene, image_id: str, split: str) -> tuple[list[dict], list[dict]]:
    """Rows of `expressions` and of `targets` for one scene."""
    boxes = scene.boxes_xyxy.tolist()
    categories = [item.category for item in scene.facts.items]
    said: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    for number, expression in enumerate(scene.expressions):
        expression_id = f"{image_id}-{number}"
        said.append(
            {
                "expression_id": expression_id,
                "image_id": image_id,
                "text": expression.text,
                "kind": "phrase",
                "split": split,
                "swap_of": None,
                "word_class": None,
                "false_of_image": None,
            }
        )
        said += [
            {
                "expression_id": f"{expression_id}-swap{place}",
                "image_id": image_id,
                "text": swap.text,
                "kind": "swap",
                "split": split,
                "swap_of": expression_id,
                "word_class": swap.word_class,
                "false_of_image": swap.false_of_image,
            }
            for place, swap in enumerate(scene.swaps[number])
        ]
        item = expression.item
        mask = coco_mask.encode(np.asfortranarray(scene.masks[item], dtype=np.uint8))
        targets.append(
            {
                "expression_id": expression_id,
                "boxes_xyxy": [boxes[item]],
                "mask": mask["counts"],
                "flavour": expression.flavour,
                "category": categories[item],
                "distractors": categories.count(categories[item]) - 1,
                "objects_xyxy": boxes,
                "object_index": item,
            }
        )
    return said, targets


def _block(
    wanted: Settings, split: str, start: int, stop: int, pictures: Path
) -> list[tuple[dict, list[dict], list[dict]]]:
    """Make scenes start to stop, write their pictures, and return the rows of each scene."""
    cv2.setNumThreads(1)
    made = []
    for index in range(start, stop):
        scene = make(wanted, split, index)
        image_id = f"{split}-{index:06d}"
        path = pictures / split / f"{image_id}.png"
        compression = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
        _, encoded = cv2.imencode(".png", scene.picture[..., ::-1], compression)
        path.write_bytes(encoded.tobytes())
        image = {
            "image_id": image_id,
            "path": str(path),
            "width": wanted.image_size,
            "height": wanted.image_size,
            "split": split,
        }
        made.append((image, *_rows(scene, image_id, split)))
    return made


def _blocks(
    wanted: Settings, pictures: Path, processes: int
) -> Iterator[list[tuple[dict, list[dict], list[dict]]]]:
    """All blocks in order, made by so many processes."""
    jobs = [
        (wanted, split, start, min(start + BLOCK, count), pictures)
        for split, count in wanted.counts.items()
        for start in range(0, count, BLOCK)
    ]
    if processes == 1 or len(jobs) <= 2:
        yield from (_block(*job) for job in jobs)
        return
    # spawn: the parent may hold threads (of Arrow), which a forked child would find locked
    pool = ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn"))
    with pool:
        try:
            yield from pool.map(_block, *zip(*jobs, strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write(
    config: dict[str, Any],
    images: Path,
    expressions: Path,
    targets: Path,
    pictures: Path,
    processes: int | None = None,
) -> None:
    """Make the data set: PNGs below pictures/<split>/ and the three tables.

    config: the `data` section, {"seed", "scenes": {...}}. processes: default one a core; the result
    does not depend on it. Raises `UserError` for a config of which no scenes can be made.
    """
    wanted = settings(config)
    for split in SPLITS:
        (pictures / split).mkdir(parents=True, exist_ok=True)
    total = sum(wanted.counts.values())
    blocks = _blocks(wanted, pictures, processes or os.cpu_count() or 1)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(tables.writer(name, path))
            for name, path in (
                ("images", images),
                ("expressions", expressions),
                ("targets", targets),
            )
        ]
        scenes = (scene for block in blocks for scene in _written(block, images, writers))
        for _ in progress.track(scenes, "scenes", total):
            pass


def _written(
    block: list[tuple[dict, list[dict], list[dict]]], images: Path, writers: list[Any]
) -> Iterator[str]:
    """Append a block's rows to the tables and yield each image's id."""
    rows = [image for image, _, _ in block]
    for image in rows:
        image["path"] = Path(os.path.relpath(image["path"], images.parent)).as_posix()
    writers[0].append(rows)
    writers[1].append([row for _, said, _ in block for row in said])
    writers[2].append([row for _, _, targets in block for row in targets])
    yield from (image["image_id"] for image in rows)
