"""REFER's `instances.json`, in COCO's format: the photographs' names and sizes, and their objects.

Boxes are xywh in the file, xyxy here: pixels, x2 and y2 exclusive. All ids are `str` (those of
ReferItGame's annotations are strings in the file). Not pycocotools.coco.COCO: it believes whatever the
file holds, and it copies every polygon as a list of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from camground.data.boxes import Box, SharesError, refuse_shares, xywh_to_xyxy
from camground.data.readers.inputs import plain_id
from camground.study.errors import UserError

IDS = ("id", "image_id", "category_id")


class Picture(NamedTuple):
    """An entry of instances.images: path relative to the folder of photographs; width and height."""

    file_name: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object. `segmentation` as COCO's: polygons, or run lengths; None where there is none."""

    annotation_id: str
    image_id: str
    category_id: str
    box_xyxy: Box
    crowd: bool
    segmentation: list[Any] | dict[str, Any] | None


@dataclass
class Instances:
    """The content of instances.json: pictures by image id, annotations by id and by image id, names of
    categories by id; `problems`: why annotations have no usable box, by id."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    annotations: dict[str, Annotation] = field(default_factory=dict)
    of_image: dict[str, list[Annotation]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Polygons as arrays while the file is still being read: a fourth of the memory of lists."""
    polygons = entry.get("segmentation")
    if isinstance(polygons, list):
        try:
            entry["segmentation"] = [
                np.asarray(polygon, dtype=np.float64) if isinstance(polygon, list) else polygon
                for polygon in polygons
            ]
        except (TypeError, ValueError):
            entry["segmentation"] = None
    return entry


def _entries(path: Path, content: Any, key: str, *required: str) -> Iterator[dict[str, Any]]:
    """The entries of a list of the file, all of which must have the required keys."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{path}: has no list `{key}`; get REFER's own instances.json again")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or any(name not in entry for name in required):
            raise UserError(f"{path}: {key}[{number}] lacks one of {', '.join(required)}; get the file again")
        try:
            yield entry | {name: plain_id(entry[name]) for name in required if name in IDS}
        except ValueError as error:
            raise UserError(f"{path}: {key}[{number}]: {error}; get the file again") from None


def read_instances(path: Path) -> Instances:
    """The content of an instances.json. Raises `UserError`: the file is missing, truncated, not of this
    format, or its boxes are not in pixels."""
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(stream, object_hook=_compact)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it lies beside refs(<splitBy>).p") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: truncated, or not JSON ({error}); delete it and get it again") from None
    instances = Instances()
    for entry in _entries(path, content, "categories", "id", "name"):
        instances.categories[entry["id"]] = str(entry["name"])
    for entry in _entries(path, content, "images", "id", "file_name", "width", "height"):
        try:
            size = int(entry["width"]), int(entry["height"])
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{path}: image {entry['id']} has no width and height") from None
        instances.pictures[entry["id"]] = Picture(str(entry["file_name"]), size)
    if len({picture.file_name for picture in instances.pictures.values()}) < len(instances.pictures):
        raise UserError(f"{path}: two images have the same file_name; get the file again")
    shares = 0
    for entry in _entries(path, content, "annotations", "id", "image_id", "category_id", "bbox"):
        annotation_id = entry["id"]
        try:
            box = xywh_to_xyxy(entry["bbox"])
        except ValueError as error:
            shares += isinstance(error, SharesError)
            instances.problems[annotation_id] = str(error)
            continue
        ids = annotation_id, entry["image_id"], entry["category_id"]
        crowd, segmentation = bool(entry.get("iscrowd", 0)), entry.get("segmentation") or None
        annotation = Annotation(*ids, box, crowd, segmentation)
        instances.annotations[annotation_id] = annotation
        instances.of_image.setdefault(annotation.image_id, []).append(annotation)
    refuse_shares(path, "data.refer.dataset", shares, len(instances.annotations) + len(instances.problems))
    return instances


def encoded_mask(segmentation: Any, width: int, height: int) -> bytes | None:
    """COCO compressed RLE counts of an object at its image's size; None where it has no usable mask.

    Polygons (RefCOCO family), run lengths of a crowd, or a list of compressed ones (ReferItGame).
    """
    from pycocotools import mask as coco_mask

    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    polygons = [part.tolist() for part in parts if isinstance(part, np.ndarray)]
    run_lengths = [part for part in parts if isinstance(part, dict) and "counts" in part]
    if any(list(part.get("size") or []) != [height, width] for part in run_lengths):
        return None
    # fewer than three corners are none, and pycocotools takes four numbers for a box
    polygons = [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]
    try:
        encoded = coco_mask.frPyObjects(polygons, height, width) if polygons else []
        for part in run_lengths:
            uncompressed = isinstance(part["counts"], list)
            encoded += coco_mask.frPyObjects([part], height, width) if uncompressed else [part]
        return bytes(coco_mask.merge(encoded)["counts"]) if encoded else None
    except (TypeError, ValueError, KeyError):
        return None
