"""The embedded data set `scenes`: its pictures and tables, made by several processes.

Boxes and masks go to `targets`, which only evaluation reads.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from camground.data.config import DataConfig
from camground.data.kinds import Outputs, Row, data_tables, expression_row, image_row, target_row
from camground.data.rejected import Rejected
from camground.data.scenes.scene import SPLITS, Scene, make_scene
from camground.study.progress import track

BLOCK = 32  # scenes that a process makes at a time, and whose rows are a row group
PNG_COMPRESSION = 1

Job = tuple[DataConfig, str, int, int, Path, Path]  # arguments of `_block`
Rows = tuple[list[Row], list[Row], list[Row]]  # of images, expressions and targets


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
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_block, *zip(*jobs, strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _block(config: DataConfig, split: str, start: int, stop: int, pictures: Path, relative: Path) -> Rows:
    """Make scenes start to stop, write their pictures, and return their rows; `relative`: the folder of the
    pictures as the tables name it."""
    cv2.setNumThreads(1)
    images: list[Row] = []
    expressions: list[Row] = []
    targets: list[Row] = []
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
    return images, expressions, targets


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
