"""Objectness: one number in (0, 1) for how well a candidate fits some object.

A logistic regression on `camground.proposals.candidates.NAMES`. It estimates the expected fit
clip((IoU - 0.4) / 0.4, 0, 1) of the candidate with its best object. The weights were printed by
`camground objectness` from drawn pictures alone: no box of a data set has a part in them.
"""

from __future__ import annotations

import numpy as np

from camground.proposals.candidates import NAMES

WEIGHTS = {
    "edge_outside": 5.283,
    "edge_inside": 0.432,
    "frame": -3.158,
    "frame_sides": -0.684,
    "fill": 2.449,
    "roundness": -0.272,
    "elongation": -1.636,
    "size": -0.410,
    "size_squared": -0.215,
    "ring_contrast": 1.514,
    "variety": 0.477,
    "ring_variety": -0.317,
    "agreement": -0.779,
    "echo": 8.053,
}
INTERCEPT = -12.411


def objectness(evidence: np.ndarray) -> np.ndarray:
    """Objectness (M,) in (0, 1) of candidates with `evidence` (M, len(NAMES))."""
    logits = evidence @ np.array([WEIGHTS[name] for name in NAMES]) + INTERCEPT
    chance: np.ndarray = 1 / (1 + np.exp(-logits))
    return chance
