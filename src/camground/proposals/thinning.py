"""From scored boxes of one picture to its proposals: the same for every method that finds boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camground.data.boxes import area, clip, pairwise_iou
from camground.proposals.config import ProposalsConfig

WHOLE = "whole_image"
NEARLY_WHOLE = 0.9  # share of the picture from which a box only repeats the whole


@dataclass(frozen=True)
class Proposals:
    """boxes_xyxy (K, 4) float32 pixels of the original image, objectness (K,) float32 in [0, 1], not
    increasing, sources K names, labels K texts of `to_label`, None where nothing says what the box holds; K
    is at least 1."""

    boxes_xyxy: np.ndarray
    objectness: np.ndarray
    sources: list[str]
    labels: list[str | None]


def to_label(name: str | None) -> str | None:
    """A category's name as words of a text: `Alarm_clock` becomes `alarm clock`; None for an empty one."""
    return " ".join((name or "").replace("_", " ").lower().split()) or None


def to_proposals(
    boxes_xyxy: np.ndarray,
    scores: np.ndarray,
    source: str,
    config: ProposalsConfig,
    size: tuple[int, int],
    whole_score: float | None = None,
    labels: Sequence[str | None] | None = None,
) -> Proposals:
    """Proposals of an image of `size` (width, height) from boxes (N, 4) that `source` found in it.

    Scores (N,) in [0, 1] become the objectness; labels: N texts of `to_label`, or none. Boxes are cut to the
    image; too small ones and those that nearly are the whole image are left out, then those that overlap a
    better one. At most `config.count` are kept, with the whole image as one of them if `config.whole_image`,
    or alone if nothing else is left; it neither suppresses nor is suppressed. Its objectness is
    `whole_score`, or else the best score of the boxes that nearly are it, or 0.

    A box that is kept keeps its own label, whatever the labels of those that it suppresses: its score, which
    won, is that of its label. The whole image has the label of the box whose score it takes.
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
    names = [None] * len(boxes) if labels is None else list(labels)
    sources, kept_names = [source] * len(kept), [names[index] for index in kept]
    if config.whole_image or not kept.size:
        whole_name = None
        if whole_score is None:
            whole_score, index = 0.0, np.flatnonzero(nearly_whole)
            if index.size:
                best = index[scores[index].argmax()]
                whole_score, whole_name = scores[best], names[best]
        rank = int((objectness >= whole_score).sum())
        kept_boxes = np.insert(kept_boxes, rank, [0, 0, *size], axis=0)
        objectness = np.insert(objectness, rank, whole_score)
        sources.insert(rank, WHOLE)
        kept_names.insert(rank, whole_name)
    return Proposals(kept_boxes.astype(np.float32), objectness.astype(np.float32), sources, kept_names)


def filled_up(own: Proposals, more: Proposals, config: ProposalsConfig) -> Proposals:
    """A method's own proposals of an image and, after them, up to `config.count`, those of `more` that
    overlap none of them.

    Both are of `to_proposals`. The two scores do not compare, so that of `more` is scaled to at most the
    weakest of the own boxes: what the method found stays ahead. The whole image is its own box where the
    method has a score of it, else one of `more`.
    """
    whole = np.array([source == WHOLE for source in own.sources])
    kept = np.flatnonzero(~whole | (own.objectness > 0))
    found = own.boxes_xyxy[~whole]
    weakest = float(own.objectness[~whole].min(initial=1.0))
    free = (pairwise_iou(more.boxes_xyxy, found) <= config.nms_iou).all(1)
    is_whole = np.array([source == WHOLE for source in more.sources])
    has_whole = bool(whole[kept].any())
    added = np.flatnonzero(np.where(is_whole, not has_whole and (config.whole_image or not len(found)), free))
    # the whole image is never what there is no room for
    room = max(config.count - len(kept), 0)
    first = np.argsort(~is_whole[added], kind="stable")[:room]
    added = np.sort(added[first])
    objectness = np.concatenate([own.objectness[kept], weakest * more.objectness[added]])
    order = np.argsort(-objectness, kind="stable")
    boxes = np.concatenate([own.boxes_xyxy[kept], more.boxes_xyxy[added]])
    sources = [own.sources[k] for k in kept] + [more.sources[k] for k in added]
    labels = [own.labels[k] for k in kept] + [more.labels[k] for k in added]
    return Proposals(
        boxes[order],
        objectness[order].astype(np.float32),
        [sources[k] for k in order],
        [labels[k] for k in order],
    )


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
