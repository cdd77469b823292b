"""Paired bootstrap by image and Holm's adjustment."""

from __future__ import annotations

import numpy as np
import pytest

from camground.evaluation import statistics


def difference(a: np.ndarray, b: np.ndarray, images: np.ndarray, **options: int) -> tuple:
    """Low, high and p of a - b, outcomes (n,) of expressions that belong to `images` (n,)."""
    options = {"resamples": 1000, "seed": 0, **options}
    counts = np.bincount(images).astype(float)[:, None]
    resampled = [
        statistics.resampled_means(np.bincount(images, v)[:, None], counts, **options) for v in (a, b)
    ]
    return tuple(float(v[0]) for v in statistics.intervals(*resampled))


def test_weights_are_resamples() -> None:
    blocks = list(statistics.image_weights(5, 40, seed=1))
    weights = np.concatenate(blocks)
    assert weights.shape == (40, 5)
    assert (weights.sum(axis=1) == 5).all()
    again = np.concatenate(list(statistics.image_weights(5, 40, seed=1)))
    np.testing.assert_array_equal(weights, again)
    assert not np.array_equal(weights, np.concatenate(list(statistics.image_weights(5, 40, 2))))


def test_a_known_difference_is_covered_and_found() -> None:
    random = np.random.default_rng(0)
    images = np.repeat(np.arange(200), 3)
    covered = 0
    for _ in range(40):
        a = (random.random(600) < 0.55).astype(float)
        b = (random.random(600) < 0.35).astype(float)
        low, high, p = difference(a, b, images, resamples=400)
        assert low < a.mean() - b.mean() < high
        covered += low <= 0.2 <= high
        assert p < 0.05
    assert covered >= 34


def test_equal_methods_are_seldom_told_apart() -> None:
    random = np.random.default_rng(1)
    images = np.repeat(np.arange(100), 3)
    found = []
    for _ in range(60):
        a, b = (random.random((2, 300)) < 0.5).astype(float)
        found.append(difference(a, b, images, resamples=400)[2] < 0.05)
    assert sum(found) <= 9


def test_the_same_method_differs_by_nothing() -> None:
    a = np.random.default_rng(2).random(60)
    assert difference(a, a, np.repeat(np.arange(20), 3)) == (0, 0, 1)


def test_images_are_resampled_not_expressions() -> None:
    # All expressions of an image fare alike: the interval must be that of 20 images, not of 200.
    random = np.random.default_rng(3)
    per_image = random.normal(size=20)
    images = np.repeat(np.arange(20), 10)
    low, high, _ = difference(per_image[images], np.zeros(200), images)
    low_wrong, high_wrong, _ = difference(per_image[images], np.zeros(200), np.arange(200))
    assert high - low > 2 * (high_wrong - low_wrong)


def test_pairing_narrows_the_interval() -> None:
    random = np.random.default_rng(4)
    hard = random.normal(size=100)
    a, b = hard + 0.1, hard + random.normal(scale=0.01, size=100)
    low, high, p = difference(a, b, np.arange(100))
    assert high - low < 0.02
    assert p == pytest.approx(2 / 1001)


def test_an_outcome_that_nobody_has_is_unknown() -> None:
    sums = counts = np.array([[1.0, 0.0]] * 4)
    means = statistics.resampled_means(sums, counts, 20, 0)
    low, high, p = statistics.intervals(means, means)
    assert p[0] == 1
    assert np.isnan([low[1], high[1], p[1]]).all()


def test_holm_by_hand() -> None:
    found = statistics.holm(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(statistics.holm(np.array([np.nan]))).all()
