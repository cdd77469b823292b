"""From scored boxes of one picture to its proposals: the same for every method that finds boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camground.data.boxes import area, clip
from camground.proposals.nms import suppress
from camground.proposals.settings import Settings

WHOLE = "whole_image"
NEARLY_WHOLE = 0.9  # share of the picture from which a box only repeats the whole


@dataclass(frozen=True)
class Proposals:
    """boxes_xyxy (K, 4) float32 pixels of the original image, objectness (K,) float32 in [0, 1], not
    increasing, sources K names; K is at least 1."""

    boxes_xyxy: np.ndarray
    objectness: np.ndarray
    sources: list[str]


def thin(
    boxes_xyxy: np.ndarray, scores: np.ndarray, settings: Settings, size: tuple[int, int]
) -> np.ndarray:
    """Indices of the boxes (N, 4) kept, best score (N,) first, in a picture of `size` (width, height).

    Too small ones and those that nearly are the whole picture are left out, then those that overlap a
    better one; at most `settings.count`, less a place for the whole image where that is wanted.
    """
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    usable = (sides >= settings.min_size * np.array(size)).all(axis=1) & (sides > 0).all(axis=1)
    usable &= area(boxes_xyxy) <= NEARLY_WHOLE * size[0] * size[1]
    index = np.flatnonzero(usable)
    room = settings.count - settings.whole_image
    kept: np.ndarray = index[suppress(boxes_xyxy[index], scores[index], settings.nms_iou, room)]
    return kept


def propose_found(
    boxes_xyxy: np.ndarray,
    scores: np.ndarray,
    source: str,
    settings: Settings,
    size: tuple[int, int],
) -> Proposals:
    """Proposals of an image of `size` from boxes (N, 4) that something named `source` found in it.

    Scores (N,) in [0, 1] become the objectness. Boxes are cut to the image. The whole image is one of
    them if `settings.whole_image` or if nothing else is left; its objectness is the best score of the
    boxes that nearly are it, or 0.
    """
    boxes = clip(np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4), *size)
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    kept = thin(boxes, scores, settings, size)
    found, objectness = boxes[kept], scores[kept]
    sources = [source] * len(kept)
    if settings.whole_image or not kept.size:
        whole = scores[area(boxes) > NEARLY_WHOLE * size[0] * size[1]].max(initial=0.0)
        place = int((objectness >= whole).sum())
        found = np.insert(found, place, [0, 0, *size], axis=0)
        objectness = np.insert(objectness, place, whole)
        sources.insert(place, WHOLE)
    return Proposals(found.astype(np.float32), objectness.astype(np.float32), sources)
