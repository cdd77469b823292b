"""From scored boxes of one picture to its proposals: the same for every method that finds boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camground.data.boxes import area, clip, pairwise_iou
from camground.proposals.config import ProposalsConfig

WHOLE = "whole_image"
NEARLY_WHOLE = 0.9  # share of the picture from which a box only repeats the whole


@dataclass(frozen=True)
class Proposals:
    """boxes_xyxy (K, 4) float32 pixels of the original image, objectness (K,) float32 in [0, 1], not
    increasing, sources K names; K is at least 1."""

    boxes_xyxy: np.ndarray
    objectness: np.ndarray
    sources: list[str]


def to_proposals(
    boxes_xyxy: np.ndarray,
    scores: np.ndarray,
    source: str,
    config: ProposalsConfig,
    size: tuple[int, int],
    whole_score: float | None = None,
) -> Proposals:
    """Proposals of an image of `size` (width, height) from boxes (N, 4) that `source` found in it.

    Scores (N,) in [0, 1] become the objectness. Boxes are cut to the image; too small ones and those that
    nearly are the whole image are left out, then those that overlap a better one. At most `config.count` are
    kept, with the whole image as one of them if `config.whole_image`, or alone if nothing else is left; it
    neither suppresses nor is suppressed. Its objectness is `whole_score`, or else the best score of the boxes
    that nearly are it, or 0.
    """
    boxes = clip(np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4), *size)
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    sides = boxes[:, 2:] - boxes[:, :2]
    nearly_whole = area(boxes) > NEARLY_WHOLE * size[0] * size[1]
    usable = (sides >= config.min_size * np.array(size)).all(axis=1) & (sides > 0).all(axis=1)
    index = np.flatnonzero(usable & ~nearly_whole)
    count = config.count - config.whole_image
    kept = index[suppress(boxes[index], scores[index], config.nms_iou, count)]
    kept_boxes, objectness = boxes[kept], scores[kept]
    sources = [source] * len(kept)
    if config.whole_image or not kept.size:
        if whole_score is None:
            whole_score = scores[nearly_whole].max(initial=0.0)
        rank = int((objectness >= whole_score).sum())
        kept_boxes = np.insert(kept_boxes, rank, [0, 0, *size], axis=0)
        objectness = np.insert(objectness, rank, whole_score)
        sources.insert(rank, WHOLE)
    return Proposals(kept_boxes.astype(np.float32), objectness.astype(np.float32), sources)


def suppress(boxes_xyxy: np.ndarray, scores: np.ndarray, iou: float, count: int) -> np.ndarray:
    """Greedy non-maximum suppression: indices of the boxes kept, best score first, at most `count`.

    boxes (N, 4), scores (N,). Kept boxes overlap one another by an IoU of at most `iou`. Ties go to
    the lower index.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < count:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[pairwise_iou(boxes_xyxy[best], boxes_xyxy[order])[0] <= iou]
    return np.array(kept, dtype=np.int64)
