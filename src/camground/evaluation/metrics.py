"""Metrics of boxes: IoU, pointing game, right object. Pure functions.

Every function takes all N expressions at once and returns a value for each; boxes are xyxy pixels.
"""

from __future__ import annotations

import numpy as np

from camground.data.box_lists import BoxLists
from camground.data.boxes import area


def aligned_iou(a_xyxy: np.ndarray, b_xyxy: np.ndarray) -> np.ndarray:
    """IoU (N,) in [0, 1] of boxes (N, 4) with boxes (N, 4), row by row."""
    a = np.asarray(a_xyxy, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(b_xyxy, dtype=np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = area(a) + area(b) - inter
    iou: np.ndarray = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def best_iou(boxes_xyxy: np.ndarray, targets: BoxLists) -> np.ndarray:
    """IoU (N,) of each box (N, 4) with the best of its list of targets; 0 for an empty list."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return targets.maximum(aligned_iou(boxes[targets.owner], targets.boxes_xyxy))


def best_proposal_iou(proposals: BoxLists, targets: BoxLists) -> tuple[np.ndarray, np.ndarray]:
    """The bound of a method that chooses proposals; `proposals` and `targets` hold N lists each.

    Returns the best IoU (N,) of any proposal with any target box, and the index (N,) of that proposal in its
    list, -1 without proposals.
    """
    iou = best_iou(proposals.boxes_xyxy, targets.take(proposals.owner))
    return proposals.maximum(iou), proposals.argmax(iou)


def hit(iou: np.ndarray, threshold: float, comparison: str) -> np.ndarray:
    """Whether each IoU (N,) passes the threshold, bool; `comparison` is ">=" or ">"."""
    return iou > threshold if comparison == ">" else iou >= threshold


def pointing(points_xy: np.ndarray, targets: BoxLists) -> np.ndarray:
    """Pointing game (Zhang et al. 2016, without its 15-pixel tolerance): whether each point (N, 2)
    lies in any box of its list, edges included; bool (N,)."""
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)[targets.owner]
    boxes = targets.boxes_xyxy
    inside = ((points >= boxes[:, :2]) & (points <= boxes[:, 2:])).all(axis=1)
    return targets.maximum(inside.astype(np.float64)) > 0


def right_object(boxes_xyxy: np.ndarray, objects: BoxLists, object_index: np.ndarray) -> np.ndarray:
    """Whether each box (N, 4) overlaps the object that is meant more, by IoU, than any other.

    `objects` holds all objects of the image for each expression and `object_index` (N,) which one
    is meant; -1, or an empty list, gives nan. A tie, or no overlap at all, is wrong. Float (N,).
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    iou = aligned_iou(boxes[objects.owner], objects.boxes_xyxy)
    meant = objects.position == object_index[objects.owner]
    of_meant = objects.maximum(np.where(meant, iou, 0.0))
    of_others = objects.maximum(np.where(meant, 0.0, iou))
    has_object = (object_index >= 0) & (objects.counts > 0)
    return np.where(has_object, (of_meant > of_others).astype(np.float64), np.nan)
