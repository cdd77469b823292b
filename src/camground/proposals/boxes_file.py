"""Boxes that another program found, from a file of detections in COCO's format.

The file is JSON, and one of

    [{"image_id": 581857, "bbox": [x, y, width, height], "score": 0.9, "category_id": 1}, ...]
    {"dets": [{"det_id": 0, "box": [x, y, width, height], "image_id": 581857, "score": 0.9, ...}, ...]}
    {"images": [{"id": 7, "file_name": "a.jpg"}, ...], "annotations": [{"image_id": 7, ...}, ...]}

COCO's results, MAttNet's detections (its released files are lists too), and a COCO data set whose boxes have
scores. A box is `bbox` or `box`, xywh in pixels of the photograph, 0-based; scores are from 0 to 1. Which
photograph an `image_id` means, `camground.proposals.file_images` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from camground.data.boxes import fit_box, xywh_to_xyxy
from camground.data.rejected import Rejected
from camground.proposals.file_images import ImageIds, StudyImage
from camground.proposals.settings import BoxesFileSettings
from camground.study.errors import UserError
from camground.study.progress import log

KEY = "proposals.boxes_file"
LISTS = ("dets", "annotations", "detections")
BOX_KEYS = ("bbox", "box")
FORMS = (
    "a list of {image_id, bbox, score}, as COCO's results, or a mapping with such a list under"
    " dets (MAttNet), annotations or detections"
)
SHOWN = 3


class Entry:
    """A detection of the file, with little of the memory of a dict; a key that is missing is None."""

    __slots__ = ("box", "box_key", "image_id", "score")

    def __init__(self, values: dict[str, Any]) -> None:
        self.box_key = next((key for key in BOX_KEYS if key in values), BOX_KEYS[0])
        self.image_id, self.score = values["image_id"], values.get("score")
        self.box = values.get(self.box_key)


class BoxesFile:
    """Boxes xyxy (N, 4) float32 and scores (N,) float32 of each image of the study, by its image_id.

    source: what the table `proposals` says of the boxes.
    """

    def __init__(self, path: Path) -> None:
        self.source = f"boxes_file:{path.name}"
        self._found: dict[str, list[tuple[float, ...]]] = {}

    def add(self, image_id: str, box: tuple[float, ...], score: float) -> None:
        self._found.setdefault(image_id, []).append((*box, score))

    def of(self, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        """None of either for an image without a box."""
        rows = np.array(self._found.get(image_id, []), dtype=np.float32).reshape(-1, 5)
        return rows[:, :4], rows[:, 4]

    def __len__(self) -> int:
        return len(self._found)


def read_boxes(settings: BoxesFileSettings, images: list[StudyImage], rejected: Path) -> BoxesFile:
    """The boxes of `images`. Entries that cannot be used go to the table `rejected`.

    Entries of other images are counted and left out. Raises `UserError` when the file is missing, not of
    this format, about none of the images or about two at once, and when more entries cannot be used, or
    more images have no entry, than `max_rejected_share` allows.
    """
    path = Path(settings.path).expanduser()
    entries, named = _load(path)
    ids = ImageIds(images, path, named)
    found, refused = BoxesFile(path), Rejected()
    others: set[str] = set()
    listed: set[str] = set(ids.listed())
    for place, image, entry in _entries(entries, ids, path, refused):
        if image is None:
            others.add(repr(entry.image_id))
            continue
        listed.add(image.image_id)
        problem, value = _add(found, image, entry)
        if problem:
            refused.add(path, place + 1, f"{ids.where(place)}{value}", problem)
    key = f"{KEY}.max_rejected_share"
    refused.settle(len(entries), settings.max_rejected_share, rejected, key)
    if images and not listed:
        raise UserError(ids.nothing_matches(others))
    if others:
        few = ", ".join(sorted(others)[:SHOWN])
        log.info("%s: %d images are not of this study, such as %s", path, len(others), few)
    without = [image.image_id for image in images if image.image_id not in listed]
    if without:
        few = ", ".join(without[:SHOWN])
        text = f"{path}: {len(without)} of {len(images)} images of the study have no entry, such as {few}"
        if len(without) > settings.max_rejected_share * len(images):
            raise UserError(
                f"{text}; find boxes in them too, or raise {key} to give each the whole image as its"
                " only proposal"
            )
        log.warning("%s; each has the whole image as its only proposal", text)
    return found


def _add(found: BoxesFile, image: StudyImage, entry: Entry) -> tuple[str, str]:
    """Add the entry; else why it cannot be used, and its key and value."""
    value = f".{entry.box_key}: {entry.box!r}"
    if entry.box is None:
        return "it has no box", value
    try:
        box = fit_box(xywh_to_xyxy(entry.box), image.width, image.height)
    except ValueError as error:
        return str(error), value
    value = f".score: {entry.score!r}"
    if isinstance(entry.score, bool) or not isinstance(entry.score, int | float):
        return "the score is not a number", value
    if not 0 <= entry.score <= 1:  # not so for NaN either
        return "the score is not from 0 to 1", value
    found.add(image.image_id, box, float(entry.score))
    return "", ""


def _entries(
    entries: list[Any], ids: ImageIds, path: Path, refused: Rejected
) -> Iterator[tuple[int, StudyImage | None, Entry]]:
    """Number, image (None: not of the study) and entry of those that have an image_id."""
    for place, entry in enumerate(entries):
        if not isinstance(entry, Entry):
            value = f"{ids.where(place)}: {str(entry)[:80]}"
            refused.add(path, place + 1, value, "no detection: it has no image_id")
            continue
        try:
            image = ids.find(entry.image_id)
        except ValueError as error:
            value = f"{ids.where(place)}.image_id: {entry.image_id!r}"
            refused.add(path, place + 1, value, str(error))
            continue
        yield place, image, entry


def _hook(values: dict[str, Any]) -> Any:
    return Entry(values) if "image_id" in values else values


def _load(path: Path) -> tuple[list[Any], tuple[str, dict[Any, str] | None]]:
    """The entries; the name of their list, and the file's own image names by id where it has them."""
    try:
        with path.open(encoding="utf-8") as stream:
            whole = json.load(stream, object_hook=_hook)
    except OSError as error:
        raise UserError(
            f"{KEY}.path: {path}: {error.strerror}; give a file of detections"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: truncated, or not JSON ({error}); {KEY}.path takes {FORMS}"
        ) from None
    lists = [key for key in LISTS if isinstance(whole, dict) and isinstance(whole.get(key), list)]
    if not lists and not isinstance(whole, list):
        keys = ", ".join(map(str, list(whole)[:8])) if isinstance(whole, dict) else ""
        held = f"its keys are {keys}" if keys else f"it holds a {type(whole).__name__}"
        raise UserError(f"{path}: {held}, but {KEY}.path takes {FORMS}")
    key = lists[0] if lists else ""
    entries = whole[key] if key else whole
    if not entries:
        raise UserError(f"{path}: holds no detection; {KEY}.path takes {FORMS}")
    scored = [entry for entry in entries if isinstance(entry, Entry) and entry.score is not None]
    if not scored and any(isinstance(entry, Entry) for entry in entries):
        raise UserError(
            f"{path}: no entry has a score, so these are not a detector's boxes; for the true boxes of the"
            " data set choose proposals.method: ground_truth, for others give each entry a score from 0 to 1"
        )
    return entries, (key, _names(path, whole) if key else None)


def _names(path: Path, whole: dict[str, Any]) -> dict[Any, str] | None:
    """File names by id of the file's own list of images; None where it has none."""
    if "images" not in whole:
        return None
    names = {}
    for place, one in enumerate(whole["images"] if isinstance(whole["images"], list) else [None]):
        if not isinstance(one, dict) or not {"id", "file_name"} <= set(one):
            raise UserError(
                f"{path}: images[{place}] lacks id or file_name; mend it, or leave `images` out if image_id"
                " is the number in the photographs' file names"
            )
        if not isinstance(one["id"], int | str):
            raise UserError(f"{path}: images[{place}].id is {one['id']!r}, no number and no text")
        names[one["id"]] = str(one["file_name"])
    return names
