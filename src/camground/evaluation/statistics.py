"""Is a difference between two methods more than chance? Paired bootstrap by image, Holm.

Expressions of one image are not independent, so images are resampled, not expressions; methods
share each resample, so what makes an image hard for all cancels out; seeds are averaged inside one.
The interval thus covers the choice of test images, and the deviation beside it that of seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CONFIDENCE = 0.95


def image_weights(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn in each resample: blocks (r, images) float64.

    `resamples` rows in all, each summing to `images`. Blocks keep memory bounded on large sets.
    """
    random = np.random.default_rng(seed)
    block = max(1, min(resamples, 8_000_000 // max(images, 1)))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        yield random.multinomial(images, np.full(images, 1 / images), size=count).astype(float)


def resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means over images in every resample, (resamples, C); nan where no expression has the outcome.

    sums, counts: (images, C), the sum of an outcome and how many expressions have it, by image.
    """
    blocks = image_weights(len(sums), resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([(weights @ sums) / (weights @ counts) for weights in blocks])


def intervals(resampled: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Low, high and p, each (C,), of a method's difference from a reference; nan where unknown.

    resampled, reference: (resamples, C) means, pair by pair. Low and high are the 2.5th and 97.5th
    percentile of the resampled differences. p is two-sided: twice the smaller share of resampled
    differences on either side of 0, one added to both counts so that it is never 0 (Davison and Hinkley
    1997, section 4.2). Differences all 0 give p = 1.
    """
    delta = resampled - reference
    finite = np.isfinite(delta)
    usable = finite.any(axis=0)
    low, high, p = (np.full(delta.shape[1], np.nan) for _ in range(3))
    if usable.any():
        tail = 100 * (1 - CONFIDENCE) / 2
        low[usable], high[usable] = np.nanpercentile(delta[:, usable], [tail, 100 - tail], axis=0)
        with np.errstate(invalid="ignore"):
            below = (delta <= 0).sum(axis=0) + 1
            above = (delta >= 0).sum(axis=0) + 1
        sides = np.minimum(below, above) / (finite.sum(axis=0) + 1)
        p[usable] = np.minimum(1.0, 2 * sides[usable])
    return low, high, p


def holm(p: np.ndarray) -> np.ndarray:
    """p (C,) adjusted for C comparisons by Holm's method; nan stays and is not counted."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.full(len(p), np.nan)
    finite = np.isfinite(p)
    if finite.any():
        adjusted[finite] = multipletests(p[finite], method="holm")[1]
    return adjusted
