"""Boxes that another program found, from a file of detections in COCO's format.

The file is JSON, and one of

    [{"image_id": 581857, "bbox": [x, y, width, height], "score": 0.9, "category_id": 1}, ...]
    {"dets": [{"det_id": 0, "box": [x, y, width, height], "image_id": 581857, "score": 0.9, ...}, ...]}
    {"images": [{"id": 7, "file_name": "a.jpg"}, ...], "annotations": [{"image_id": 7, ...}, ...]}

COCO's results, MAttNet's detections (its released files are lists too), and a COCO data set whose boxes have
scores. A box is `bbox` or `box`, xywh in pixels of the photograph, 0-based; scores are from 0 to 1. Its label
is `category_name` or `category`, or what the file's own `categories` call the `category_id`. Which photograph
an `image_id` means, `camground.proposals.image_ids` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from camground.data.boxes import SharesError, fit_box, refuse_shares, xywh_to_xyxy
from camground.data.rejected import Rejected
from camground.proposals.config import BoxesFileConfig
from camground.proposals.image_ids import ImageIds
from camground.proposals.proposer import Photograph, Proposer
from camground.proposals.thinning import WHOLE, Proposals, to_label, to_proposals
from camground.study.errors import UserError
from camground.study.progress import log

KEY = "proposals.boxes_file"
LISTS = ("dets", "annotations", "detections")
FORMS = (
    "a list of {image_id, bbox, score}, as COCO's results, or a mapping with such a list under"
    " dets (MAttNet), annotations or detections"
)
SHOWN = 3

# x1, y1, x2, y2 and score of each of an image's boxes, with its label, by its image_id
ScoredBoxes = dict[str, list[tuple[tuple[float, ...], str | None]]]


class BoxesFileProposer(Proposer):
    """The boxes of the file `proposals.boxes_file.path`; what cannot be used goes to the table `rejected`."""

    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        boxes = read_boxes(self.config.boxes_file, photographs, self.tables["rejected"])
        path = Path(str(self.config.boxes_file.path))
        bare: list[str] = []
        for photograph in photographs:
            found = boxes.get(photograph.image_id, [])
            rows = np.array([row for row, _ in found], dtype=np.float32).reshape(-1, 5)
            labels = [label for _, label in found]
            kept = to_proposals(
                *(rows[:, :4], rows[:, 4], f"boxes_file:{path.name}", self.config, photograph.size),
                labels=labels,
            )
            if len(rows) and set(kept.sources) == {WHOLE}:
                bare.append(photograph.image_id)
            yield kept
        if bare:
            log.warning(
                "%s: every box of %d of %d images is too small (proposals.min_size) or nearly the whole"
                " image, such as those of %s; each has only the whole image from this file",
                *(path, len(bare), len(photographs), ", ".join(bare[:SHOWN])),
            )


class Entry:
    """A detection of the file, with little of the memory of a dict; a key that is missing is None."""

    __slots__ = ("box", "box_key", "category", "category_id", "image_id", "score")

    def __init__(self, values: dict[str, Any]) -> None:
        self.image_id, self.score = values["image_id"], values.get("score")
        self.box_key = "box" if "box" in values and "bbox" not in values else "bbox"
        self.box = values.get(self.box_key)
        self.category = values.get("category_name", values.get("category"))
        self.category_id = values.get("category_id")


def read_boxes(config: BoxesFileConfig, photographs: Sequence[Photograph], rejected: Path) -> ScoredBoxes:
    """The boxes of the photographs. Entries that cannot be used go to the table `rejected`.

    Entries of other images are counted and left out. Raises `UserError` when the file is missing, not of
    this format, about none of the images or about two at once, and when more entries cannot be used, or
    more images have no entry, than `max_rejected_share` allows.
    """
    path = Path(str(config.path))
    list_name, entries, file_names, categories = _load(path)
    ids = ImageIds(photographs, path, file_names)
    boxes: ScoredBoxes = {}
    refused = Rejected()
    others: set[str] = set()
    lost: set[str] = set()
    shares = 0
    listed, labels = ids.listed(), cache(to_label)
    for index, entry in enumerate(entries):
        key, value, photograph = "", str(entry)[:80], None
        try:
            if not isinstance(entry, Entry):
                raise ValueError("no detection: it has no image_id")
            key, value = ".image_id", repr(entry.image_id)
            photograph = ids.find(entry.image_id)
            if photograph is None:
                others.add(value)
                continue
            listed.add(photograph.image_id)
            key, value = f".{entry.box_key}", repr(entry.box)
            box = fit_box(xywh_to_xyxy(entry.box), *photograph.size)
            key, value = ".score", repr(entry.score)
            score: Any = entry.score
            # NaN fails the comparison
            if type(score) not in (int, float) or not 0 <= score <= 1:
                raise ValueError("the score is not a number from 0 to 1")
            key, value, label = ".category", repr(entry.category), entry.category
            if label is None and categories:
                key, value = ".category_id", repr(entry.category_id)
                label = categories.get(entry.category_id) if type(entry.category_id) in (int, str) else None
                if label is None:
                    raise ValueError("none of the file's categories")
            if not isinstance(label, str | None):
                raise ValueError("the category's name is no text")
            boxes.setdefault(photograph.image_id, []).append(((*box, float(score)), labels(label)))
        except ValueError as error:
            shares += isinstance(error, SharesError)
            if photograph is not None:
                lost.add(photograph.image_id)
            refused.add(path, index + 1, f"{list_name}[{index}]{key}: {value}", error)
    refuse_shares(path, f"{KEY}.path", shares, len(entries))
    max_share, share_key = config.max_rejected_share, f"{KEY}.max_rejected_share"
    refused.settle(len(entries), max_share, rejected, share_key)
    if photographs and not listed:
        raise UserError(ids.nothing_matches(others))
    if others:
        few = ", ".join(sorted(others)[:SHOWN])
        log.info("%s: %d images are not of this study, such as %s", path, len(others), few)
    if lost := lost - boxes.keys():
        few = ", ".join(sorted(lost)[:SHOWN])
        log.warning("%s: %d images lost every box, which were all rejected, such as %s", path, len(lost), few)
    without = [each.image_id for each in photographs if each.image_id not in listed]
    if without:
        few = ", ".join(without[:SHOWN])
        count = f"{len(without)} of {len(photographs)}"
        text = f"{path}: {count} images of the study have no entry, such as {few}"
        if len(without) > max_share * len(photographs):
            raise UserError(
                f"{text}; find boxes in them too, or raise {share_key} to give each only the whole image from"
                " this file"
            )
        log.warning("%s; each has only the whole image from it", text)
    return boxes


def _load(path: Path) -> tuple[str, list[Any], dict[Any, str] | None, dict[Any, str]]:
    """The name of the list of entries, the entries, and, where the file has them, its image names and its
    categories' names by id."""
    try:
        with path.open(encoding="utf-8") as stream:
            content = json.load(
                stream, object_hook=lambda values: Entry(values) if "image_id" in values else values
            )
    except OSError as error:
        raise UserError(f"{KEY}.path: {path}: {error.strerror}; give a file of detections") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: truncated, or not JSON ({error}); {KEY}.path takes {FORMS}") from None
    is_mapping = isinstance(content, dict)
    name = next((key for key in LISTS if is_mapping and isinstance(content.get(key), list)), "")
    entries = content[name] if name else content
    if not isinstance(entries, list):
        keys = ", ".join(map(str, list(content)[:8])) if is_mapping else ""
        held = f"its keys are {keys}" if keys else f"it holds a {type(content).__name__}"
        raise UserError(f"{path}: {held}, but {KEY}.path takes {FORMS}")
    if not entries:
        raise UserError(f"{path}: holds no detection; {KEY}.path takes {FORMS}")
    scores = [entry.score for entry in entries if isinstance(entry, Entry)]
    if scores and all(score is None for score in scores):
        raise UserError(
            f"{path}: no entry has a score, so these are not a detector's boxes; to choose among the true"
            " boxes set evaluate.proposals: ground_truth, for others give each entry a score from 0 to 1"
        )
    images, categories = (content.get(key) if name else None for key in ("images", "categories"))
    advice = "image_id is the number in the photographs' file names"
    file_names = None if images is None else _by_id(path, "images", images, "file_name", advice)
    named = (
        {} if categories is None else _by_id(path, "categories", categories, "name", "boxes need no label")
    )
    return name, entries, file_names, named


def _by_id(path: Path, listed: str, rows: Any, column: str, advice: str) -> dict[Any, str]:
    """The `column` by id of a list of the file's own; advice: when the list can be left out."""
    names = {}
    for index, row in enumerate(rows if isinstance(rows, list) else [None]):
        if not isinstance(row, dict) or not {"id", column} <= set(row):
            raise UserError(
                f"{path}: {listed}[{index}] lacks id or {column}; mend it, or leave `{listed}` out if"
                f" {advice}"
            )
        own = row["id"]
        if isinstance(own, float) and own.is_integer():
            own = int(own)
        if not isinstance(own, int | str):
            raise UserError(f"{path}: {listed}[{index}].id is {own!r}, no whole number and no text")
        names[own] = str(row[column])
    return names
