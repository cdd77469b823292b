"""Hierarchical grouping of leaf regions: the selective search of Uijlings et al. (IJCV 2013).

Departures from the paper: the strength of the common boundary is a fifth similarity, and the regions
themselves are kept, not only their boxes, because objectness is measured on regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camground.proposals.segmentation import Leaves


@dataclass(frozen=True)
class Strategy:
    """Weights of the similarities that decide which two neighbours merge next."""

    colour: float
    texture: float
    size: float
    fill: float
    boundary: float


@dataclass(frozen=True)
class Tree:
    """The N leaves and their N - 1 merges, as M = 2 N - 1 regions (leaves first, then by merge).

    members: (M, N) bool, the leaves of each region. boxes_xyxy: (M, 4) int pixels around each region.
    """

    members: np.ndarray
    boxes_xyxy: np.ndarray


def group(leaves: Leaves, strategy: Strategy) -> Tree:
    """Merge the two most similar neighbours until one region is left.

    Ties go to the lower index, so the same leaves always give the same tree.
    """
    count = len(leaves)
    total = float(leaves.sizes.sum())
    sizes = leaves.sizes.copy()
    boxes = leaves.boxes_xyxy.astype(np.float64)
    # Weighted beforehand, one minimum serves the intersections of both histograms.
    colour = leaves.colour / (3 * sizes[:, None])
    texture = leaves.texture / np.maximum(leaves.texture.sum(axis=1, keepdims=True), 1e-9)
    histogram = np.hstack([strategy.colour * colour, strategy.texture * texture])
    shared, strength = leaves.shared.copy(), leaves.strength.copy()

    def similar(i: int, others: np.ndarray) -> np.ndarray:
        appearance = np.minimum(histogram[i], histogram[others]).sum(axis=1)
        joint = sizes[i] + sizes[others]
        low = np.minimum(boxes[i, :2], boxes[others, :2])
        high = np.maximum(boxes[i, 2:], boxes[others, 2:])
        hull = (high - low).prod(axis=1)
        edge = strength[i, others] / shared[i, others]
        similarity: np.ndarray = (
            appearance
            + strategy.size * (1 - joint / total)
            + strategy.fill * (1 - (hull - joint) / total)
            + strategy.boundary * (1 - edge)
        )
        return similarity

    similarity = np.full((count, count), -np.inf)
    for i in range(count):
        others = np.flatnonzero(shared[i])
        similarity[i, others] = similar(i, others)

    node = np.arange(count)
    members = np.zeros((2 * count - 1, count), dtype=bool)
    members[:count] = np.eye(count, dtype=bool)
    regions = np.empty((2 * count - 1, 4), dtype=np.int64)
    regions[:count] = leaves.boxes_xyxy
    for new in range(count, 2 * count - 1):
        i, j = divmod(int(similarity.argmax()), count)
        members[new] = members[node[i]] | members[node[j]]
        joint = sizes[i] + sizes[j]
        histogram[i] = (sizes[i] * histogram[i] + sizes[j] * histogram[j]) / joint
        sizes[i] = joint
        boxes[i, :2] = np.minimum(boxes[i, :2], boxes[j, :2])
        boxes[i, 2:] = np.maximum(boxes[i, 2:], boxes[j, 2:])
        regions[new] = boxes[i]
        for sums in (shared, strength):
            row = sums[i] + sums[j]
            row[i] = 0.0
            sums[i], sums[:, i] = row, row
            sums[j], sums[:, j] = 0.0, 0.0
        similarity[j], similarity[:, j] = -np.inf, -np.inf
        similarity[i], similarity[:, i] = -np.inf, -np.inf
        others = np.flatnonzero(shared[i])
        values = similar(i, others)
        similarity[i, others] = similarity[others, i] = values
        node[i] = new
    return Tree(members, regions)
