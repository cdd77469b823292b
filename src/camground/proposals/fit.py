"""Fit the weights of objectness on drawn pictures: `python -m camground.proposals.fit`.

The pictures come from `camground.proposals.drawing`, so no data set's boxes have a part in it. Prints
the weights as they stand in `camground.proposals.objectness`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from camground.data.boxes import pairwise_iou
from camground.proposals.candidates import NAMES, SEARCHES, find
from camground.proposals.drawing import draw

RIDGE = 1.0  # on standardised weights, against a sum over candidates
POOR, GOOD = 0.4, 0.8  # IoU with a thing at which a candidate counts as none and as all of it


@dataclass(frozen=True)
class Sample:
    """evidence (M, len(NAMES)) of candidates and how well each fits a thing (M,), 0 to 1."""

    evidence: np.ndarray
    fit: np.ndarray


def sample(seed: int, pictures: int, side: int = 128, mode: str = "fast") -> Sample:
    """Candidates of drawn pictures, the whole picture left out."""
    rng = np.random.default_rng(seed)
    rows, fits = [], []
    for _ in range(pictures):
        rgb, things = draw(rng, side)
        if not len(things):
            continue
        found = find(rgb, SEARCHES[mode])
        best = pairwise_iou(found.boxes_xyxy, things).max(axis=1)
        rows.append(found.evidence[:-1])
        fits.append(np.clip((best[:-1] - POOR) / (GOOD - POOR), 0, 1))
    return Sample(np.concatenate(rows), np.concatenate(fits))


def logistic(data: Sample, steps: int = 30) -> tuple[np.ndarray, float]:
    """Weights (len(NAMES),) and intercept of a ridge logistic regression, by Newton's method."""
    mean, spread = data.evidence.mean(axis=0), data.evidence.std(axis=0) + 1e-9
    design = np.column_stack([(data.evidence - mean) / spread, np.ones(len(data.fit))])
    ridge = np.diag([RIDGE] * len(NAMES) + [0.0])
    solution = np.zeros(design.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-design @ solution))
        slope = design.T @ (chance - data.fit) + ridge @ solution
        curve = design.T @ (design * (chance * (1 - chance))[:, None]) + ridge
        step = np.linalg.solve(curve, slope)
        solution -= step
        if np.abs(step).max() < 1e-9:
            break
    weights = solution[:-1] / spread
    return weights, float(solution[-1] - weights @ mean)


def main() -> None:
    """Print the weights fitted on `--pictures` drawn pictures."""
    parser = argparse.ArgumentParser(prog="python -m camground.proposals.fit", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=600)
    options = parser.parse_args()
    weights, intercept = logistic(sample(options.seed, options.pictures))
    for name, weight in zip(NAMES, weights, strict=True):
        print(f'    "{name}": {weight:.3f},')
    print(f"INTERCEPT = {intercept:.3f}")


if __name__ == "__main__":
    main()
