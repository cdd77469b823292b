"""REFER's `instances.json`, in COCO's format: the photographs' names and sizes, and their objects.

Boxes are xywh in the file, xyxy here: pixels, x2 and y2 exclusive. All ids are `str` (those of
ReferItGame's annotations are strings in the file).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from camground.data.boxes import Box, xywh_to_xyxy
from camground.study.errors import UserError


@dataclass(frozen=True, slots=True)
class Picture:
    """An entry of instances.images; `file_name` is relative to the folder of photographs."""

    image_id: str
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object. `segmentation` as COCO's: polygons, or run lengths; None where there is none."""

    annotation_id: str
    image_id: str
    category_id: str
    box_xyxy: Box
    crowd: bool
    segmentation: list | dict | None


@dataclass
class Instances:
    """What instances.json holds: pictures by image id, annotations by id and by image id, names of
    categories by id; `bad`: of annotations without a usable box, by id, why."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    annotations: dict[str, Annotation] = field(default_factory=dict)
    of_image: dict[str, list[Annotation]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Polygons as arrays while the file is still being read: a fourth of the memory of lists."""
    polygons = entry.get("segmentation")
    if isinstance(polygons, list):
        try:
            entry["segmentation"] = [
                np.asarray(one, dtype=np.float64) if isinstance(one, list) else one
                for one in polygons
            ]
        except (TypeError, ValueError):
            entry["segmentation"] = None
    return entry


def _entries(
    path: Path, whole: dict[str, Any], key: str, wanted: tuple[str, ...]
) -> Iterator[dict]:
    """The entries of a list of the file that have all the keys they need."""
    entries = whole.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path}: has no list `{key}`; get REFER's own instances.json again")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or any(name not in entry for name in wanted):
            raise UserError(
                f"{path}: {key}[{place}] lacks one of {', '.join(wanted)}; get the file again"
            )
        yield entry


def read_instances(path: Path) -> Instances:
    """What is in instances.json.

    Raises:
        UserError: the file is missing, truncated, or not of this format.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            whole = json.load(stream, object_hook=_compact)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it lies beside refs(<splitBy>).p") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: truncated, or not JSON ({error}); delete it and get it again"
        ) from None
    if not isinstance(whole, dict):
        raise UserError(f"{path}: holds no images and annotations; get REFER's own file again")
    found = Instances()
    for entry in _entries(path, whole, "categories", ("id", "name")):
        found.categories[str(entry["id"])] = str(entry["name"])
    for entry in _entries(path, whole, "images", ("id", "file_name", "width", "height")):
        image_id = str(entry["id"])
        try:
            sides = int(entry["width"]), int(entry["height"])
        except (TypeError, ValueError):
            raise UserError(f"{path}: image {image_id} has no width and height") from None
        found.pictures[image_id] = Picture(image_id, str(entry["file_name"]), *sides)
    if len({one.file_name for one in found.pictures.values()}) < len(found.pictures):
        raise UserError(f"{path}: two images have the same file_name; get the file again")
    listed = _entries(path, whole, "annotations", ("id", "image_id", "category_id", "bbox"))
    for entry in listed:
        name = str(entry["id"])
        try:
            box = xywh_to_xyxy(entry["bbox"])
        except ValueError as error:
            found.bad[name] = str(error)
            continue
        annotation = Annotation(
            annotation_id=name,
            image_id=str(entry["image_id"]),
            category_id=str(entry["category_id"]),
            box_xyxy=box,
            crowd=bool(entry.get("iscrowd", 0)),
            segmentation=entry.get("segmentation") or None,
        )
        found.annotations[name] = annotation
        found.of_image.setdefault(annotation.image_id, []).append(annotation)
    return found


def encoded_mask(segmentation: Any, height: int, width: int) -> bytes | None:
    """COCO compressed RLE counts of an object at its image's size; None where it has no usable mask.

    Polygons (RefCOCO family), run lengths of a crowd, or a list of compressed ones (ReferItGame).
    """
    from pycocotools import mask as coco_mask

    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    polygons = [one.tolist() for one in parts if isinstance(one, np.ndarray)]
    runs = [one for one in parts if isinstance(one, dict) and "counts" in one]
    if any(list(one.get("size") or []) != [height, width] for one in runs):
        return None
    # fewer than three corners are none, and pycocotools takes four numbers for a box
    polygons = [one for one in polygons if len(one) >= 6 and len(one) % 2 == 0]
    try:
        found = coco_mask.frPyObjects(polygons, height, width) if polygons else []
        for one in runs:
            if isinstance(one["counts"], list):
                found += coco_mask.frPyObjects([one], height, width)
            else:
                found.append(one)
        if not found:
            return None
        return bytes(coco_mask.merge(found)["counts"])
    except (TypeError, ValueError, KeyError):
        return None
