"""All boxes that grouping finds in a picture, with the evidence for each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from camground.data.boxes import area
from camground.proposals import evidence
from camground.proposals.grouping import Strategy, group
from camground.proposals.objectness import WEIGHTS
from camground.proposals.segmentation import measure_leaves, measure_pixels, segment

AGREES = 0.8  # IoU from which a grouping has a box
LEAF_SHARE = 20 / 128**2  # of the picture: the smallest leaf
SMALLEST_SIDE = 3  # pixels; a thinner picture has no inside


# Every strategy groups the leaves of every segmentation: by colour space, Felzenszwalb and Huttenlocher's k,
# which is larger for larger leaves. The spaces err differently: L*a*b* merges shaded surfaces, HSV parts
# equally light hues.
SEGMENTATIONS = {"lab": 100.0, "hsv": 200.0}
STRATEGIES = (
    Strategy(colour=1, texture=1, size=1, fill=1, boundary=2),
    Strategy(colour=0, texture=0, size=1, fill=1, boundary=0),
)


@dataclass(frozen=True)
class Candidates:
    """Distinct boxes xyxy (M, 4) int in pixels, sorted, and their evidence (M, len(WEIGHTS))."""

    boxes_xyxy: np.ndarray
    evidence: np.ndarray


def find_candidates(rgb: np.ndarray) -> Candidates:
    """Candidates of a picture (h, w, 3) uint8 RGB; the last row is the whole picture.

    Of regions with the same box the first one's evidence is kept.
    """
    height, width = rgb.shape[:2]
    whole = np.array([[0, 0, width, height]])
    if min(height, width) < SMALLEST_SIDE:
        return Candidates(whole, np.zeros((1, len(WEIGHTS))))
    pixels = measure_pixels(rgb)
    smallest = max(round(height * width * LEAF_SHARE), 2)
    boxes: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    origin: list[np.ndarray] = []
    pictures = {"lab": pixels.lab, "hsv": cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)}
    for space, scale in SEGMENTATIONS.items():
        labels = segment(pictures[space], sigma=0.8, scale=scale, min_pixels=smallest)
        leaves = measure_leaves(labels, pixels)
        for strategy in STRATEGIES:
            tree = group(leaves, strategy)
            origin.append(np.full(len(tree.boxes_xyxy), len(origin)))
            boxes.append(tree.boxes_xyxy)
            rows.append(evidence.measure(leaves, tree))
    distinct, first, index = np.unique(np.concatenate(boxes), axis=0, return_index=True, return_inverse=True)
    member = np.zeros((len(distinct), len(origin)), dtype=bool)
    member[index.ravel(), np.concatenate(origin)] = True
    measured = np.hstack([np.concatenate(rows)[first], _agreement(distinct, member)])
    is_whole = (distinct == whole).all(axis=1)
    order = np.argsort(is_whole, kind="stable")
    return Candidates(distinct[order], measured[order])


def _agreement(boxes_xyxy: np.ndarray, member: np.ndarray) -> np.ndarray:
    """`agreement` and `echo` (M, 2) of boxes (M, 4) that groupings (M, G) bool have in common."""
    low_x, low_y, high_x, high_y = boxes_xyxy.T.astype(np.float32)
    wide = np.minimum(high_x[:, None], high_x) - np.maximum(low_x[:, None], low_x)
    tall = np.minimum(high_y[:, None], high_y) - np.maximum(low_y[:, None], low_y)
    inter = np.maximum(wide, 0) * np.maximum(tall, 0)
    areas = area(boxes_xyxy).astype(np.float32)
    iou = inter / (areas[:, None] + areas - inter)
    nearest = np.column_stack([iou[:, has].max(axis=1) for has in member.T])
    return np.column_stack([(nearest > AGREES).mean(axis=1), nearest.mean(axis=1)])
