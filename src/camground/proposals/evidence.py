"""Class-agnostic evidence that a region is an object, summed up from its leaves.

A boundary of strong edges and contrast against the surround are the cues of "What is an object?"
(Alexe et al., TPAMI 2012) and Edge Boxes (Zitnick and Dollar, ECCV 2014), taken on regions instead of
boxes, since the region says where the boundary should be.
"""

from __future__ import annotations

import numpy as np

from camground.proposals.grouping import Tree
from camground.proposals.segmentation import Leaves


def measure(leaves: Leaves, tree: Tree) -> np.ndarray:
    """Evidence (M, 12) float64 of the regions of `tree`, a grouping of `leaves`.

    Its columns are those that begin `camground.proposals.objectness.WEIGHTS`.
    """
    height, width = leaves.labels.shape
    inside = tree.members.astype(np.float64)
    outside = 1 - inside
    area = inside @ leaves.sizes

    touching = inside @ leaves.shared
    around = touching * outside
    outer = around.sum(axis=1)
    inner = (touching * inside).sum(axis=1)
    edges = inside @ leaves.strength
    frame = inside @ leaves.frame
    perimeter = np.maximum(outer + frame, 1e-9)

    own = inside @ leaves.colour
    own /= own.sum(axis=1, keepdims=True)
    ring = around @ (leaves.colour / leaves.colour.sum(axis=1, keepdims=True))
    ring /= np.maximum(outer, 1e-9)[:, None]
    contrast = np.where(outer > 0, 1 - np.minimum(own, ring).sum(axis=1), 0.0)

    boxes_xyxy = tree.boxes_xyxy
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64)
    hull = sides.prod(axis=1)
    size = np.log(hull / (height * width))
    on_frame = np.hstack([boxes_xyxy[:, :2] == 0, boxes_xyxy[:, 2:] == [width, height]])
    return np.column_stack(
        [
            (edges * outside).sum(axis=1) / np.maximum(outer, 1e-9),
            (edges * inside).sum(axis=1) / np.maximum(inner, 1e-9),
            frame / perimeter,
            on_frame.mean(axis=1),
            area / hull,
            np.log(4 * np.pi * area / perimeter**2),
            np.abs(np.log(sides[:, 0] / sides[:, 1])),
            size,
            size**2,
            contrast,
            _entropy(own),
            _entropy(ring),
        ]
    )


def _entropy(histograms: np.ndarray) -> np.ndarray:
    entropy: np.ndarray = -(histograms * np.log(np.maximum(histograms, 1e-9))).sum(axis=1)
    return entropy
