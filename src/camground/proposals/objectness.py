"""Objectness: one number in (0, 1) for how well a candidate fits some object.

A logistic regression on `camground.proposals.candidates.NAMES`. It estimates the expected fit
clip((IoU - 0.4) / 0.4, 0, 1) of the candidate with its best object. The weights were printed by
`python -m camground.proposals.fit` from drawn pictures alone: no box of a data set has a part in them.
"""

from __future__ import annotations

import numpy as np

from camground.proposals.candidates import NAMES

WEIGHTS = {
    "edge_outside": 4.407,
    "edge_inside": 0.360,
    "frame": -2.908,
    "frame_sides": -0.760,
    "fill": 2.361,
    "roundness": -0.279,
    "elongation": -1.615,
    "size": -0.408,
    "size_squared": -0.206,
    "ring_contrast": 1.638,
    "variety": 0.521,
    "persistence": -0.118,
    "agreement": -0.665,
    "echo": 7.644,
}
INTERCEPT = -12.343


def objectness(evidence: np.ndarray) -> np.ndarray:
    """Objectness (M,) in (0, 1) of candidates with `evidence` (M, len(NAMES))."""
    return 1 / (1 + np.exp(-(evidence @ np.array([WEIGHTS[name] for name in NAMES]) + INTERCEPT)))
