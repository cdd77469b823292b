"""Fitting the weights of objectness on drawn pictures, so that no data set's boxes have a part in them."""

from __future__ import annotations

import numpy as np

from camground.data.boxes import pairwise_iou
from camground.proposals.candidates import find_candidates
from camground.proposals.drawing import draw
from camground.proposals.objectness import WEIGHTS

RIDGE = 1.0  # on standardised weights, against a sum over candidates
POOR, GOOD = 0.4, 0.8  # IoU with a thing at which a candidate counts as none and as all of it


def sample(seed: int, pictures: int, side: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of drawn pictures, the whole picture left out.

    Their evidence (M, len(WEIGHTS)), and how well each fits a thing (M,), 0 to 1.
    """
    rng = np.random.default_rng(seed)
    rows, fits = [], []
    for _ in range(pictures):
        rgb, things = draw(rng, side)
        if not len(things):
            continue
        candidates = find_candidates(rgb)
        best = pairwise_iou(candidates.boxes_xyxy, things).max(axis=1)
        rows.append(candidates.evidence[:-1])
        fits.append(np.clip((best[:-1] - POOR) / (GOOD - POOR), 0, 1))
    return np.concatenate(rows), np.concatenate(fits)


def logistic(evidence: np.ndarray, fit: np.ndarray, steps: int = 30) -> tuple[np.ndarray, float]:
    """Weights (len(WEIGHTS),) and intercept of a ridge logistic regression, by Newton's method."""
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-9
    design = np.column_stack([(evidence - mean) / spread, np.ones(len(fit))])
    ridge = np.diag([RIDGE] * len(WEIGHTS) + [0.0])
    solution = np.zeros(design.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-design @ solution))
        slope = design.T @ (chance - fit) + ridge @ solution
        curve = design.T @ (design * (chance * (1 - chance))[:, None]) + ridge
        step = np.linalg.solve(curve, slope)
        solution -= step
        if np.abs(step).max() < 1e-9:
            break
    weights = solution[:-1] / spread
    return weights, float(solution[-1] - weights @ mean)


def fitted_weights(seed: int, pictures: int) -> str:
    """The weights fitted on drawn pictures, as they stand in `camground.proposals.objectness`."""
    weights, intercept = logistic(*sample(seed, pictures))
    rows = [f'    "{name}": {weight:.3f},' for name, weight in zip(WEIGHTS, weights, strict=True)]
    return "\n".join(["WEIGHTS = {", *rows, "}", f"INTERCEPT = {intercept:.3f}"])
