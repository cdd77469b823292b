"""Objectness: one number in (0, 1) for how well a candidate fits some object.

A logistic regression on the candidate's evidence. It estimates the expected fit
clip((IoU - 0.4) / 0.4, 0, 1) of the candidate with its best object. The weights were printed by
`camground objectness` from drawn pictures alone: no box of a data set has a part in them.
"""

from __future__ import annotations

import numpy as np

# of the evidence, in the order of its columns
WEIGHTS = {
    "edge_outside": 5.283,  # mean edge strength along the region's boundary
    "edge_inside": 0.432,  # mean edge strength along the boundaries between its leaves
    "frame": -3.158,  # share of its perimeter that is the picture's frame
    "frame_sides": -0.684,  # share of the box's four sides that lie on the frame
    "fill": 2.449,  # its share of its box
    "roundness": -0.272,  # log of 4 pi area / perimeter^2, perimeter in pixel sides
    "elongation": -1.636,  # |log of width / height| of the box
    "size": -0.410,  # log of the box's share of the picture
    "size_squared": -0.215,
    "ring_contrast": 1.514,  # 1 - intersection of its colour histogram with that of the leaves around it
    "variety": 0.477,  # entropy of its colour histogram, nats
    "ring_variety": -0.317,  # the same of the leaves around it: whole things have plain surroundings
    "agreement": -0.779,  # share of the groupings that have this box
    "echo": 8.053,  # mean over the groupings of the IoU with their nearest box
}
INTERCEPT = -12.411


def objectness(evidence: np.ndarray) -> np.ndarray:
    """Objectness (M,) in (0, 1) of candidates with `evidence` (M, len(WEIGHTS))."""
    logits = evidence @ np.array([*WEIGHTS.values()]) + INTERCEPT
    chance: np.ndarray = 1 / (1 + np.exp(-logits))
    return chance
