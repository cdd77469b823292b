"""Paired bootstrap of images and seeds, and Holm's adjustment."""

from __future__ import annotations

import numpy as np
import pytest

from camground.evaluation import statistics


def difference(a: np.ndarray, b: np.ndarray, images: np.ndarray, resamples: int = 1000) -> tuple:
    """Low, high and p of a - b: outcomes of expressions that belong to `images` (n,), of one run (n,) or of
    every seed (S, n)."""
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    counts = np.bincount(images).astype(float)[None, :, None]
    sums = [np.stack([np.bincount(images, row)[:, None] for row in rows]) for rows in (a, b)]
    blocks = statistics.resamples(counts.shape[1], max(len(a), len(b)), resamples, 0)
    drawn = []
    for weights in blocks:
        of_a, of_b = (statistics.resampled_means(s, np.broadcast_to(counts, s.shape), *weights) for s in sums)
        drawn.append(of_a - of_b)
    return tuple(float(v[0]) for v in statistics.intervals(np.concatenate(drawn)))


def test_weights_are_resamples() -> None:
    def drawn(seed: int, images: int = 5) -> list[np.ndarray]:
        blocks = list(statistics.resamples(images, 3, 40, seed))
        return [np.concatenate(weights) for weights in zip(*blocks, strict=True)]

    of_images, of_seeds = drawn(1)
    assert of_images.shape == (40, 5)
    assert of_seeds.shape == (40, 3)
    assert (of_images.sum(axis=1) == 5).all()
    np.testing.assert_allclose(of_seeds.sum(axis=1), 1)
    for weights, again, other in zip((of_images, of_seeds), drawn(1), drawn(2), strict=True):
        np.testing.assert_array_equal(weights, again)
        assert not np.array_equal(weights, other)


def test_many_images_are_drawn_in_blocks() -> None:
    blocks = [of_images for of_images, _ in statistics.resamples(300_000, 2, 7, 0)]
    assert [len(block) for block in blocks] == [3, 3, 1]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_seeds_variance_is_not_understated(seeds: int) -> None:
    """A plain bootstrap of S seeds has (S - 1) / S of the variance of their mean."""
    values = np.arange(seeds) ** 1.5
    drawn = [weights @ values for _, weights in statistics.resamples(1, seeds, 40_000, 0)]
    assert np.concatenate(drawn).var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.03)


def test_one_seed_is_its_own_mean() -> None:
    assert all((of_seeds == 1).all() for _, of_seeds in statistics.resamples(4, 1, 20, 0))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_coverage_with_the_variance_of_seeds_and_of_images(seeds: int) -> None:
    """A difference of 0 whose mean has half of its variance from seeds, a quarter from images and a quarter
    from both together: images alone cover it much less often than 95 %."""
    random = np.random.default_rng(seeds)
    images, studies = 60, 300
    scale = np.sqrt([images / 4, seeds / 2, images * seeds / 4])
    covered, by_images = 0, 0
    for _ in range(studies):
        of_image, of_seed, of_both = (
            size * random.normal(size=shape)
            for size, shape in zip(scale, [(1, images), (seeds, 1), (seeds, images)], strict=True)
        )
        outcomes = of_image + of_seed + of_both
        low, high, _ = difference(outcomes, np.zeros(images), np.arange(images), 400)
        covered += low <= 0 <= high
        low, high, _ = difference(outcomes.mean(axis=0), np.zeros(images), np.arange(images), 400)
        by_images += low <= 0 <= high
    assert 0.92 <= covered / studies <= 1
    assert by_images / studies < 0.9


def test_seed_k_is_paired_with_seed_k() -> None:
    """What the matcher of a seed does to both methods cancels out; to a method of one run it does not."""
    random = np.random.default_rng(5)
    of_seed = random.normal(size=(4, 1)) + random.normal(scale=0.01, size=(4, 50))
    low, high, p = difference(of_seed + 0.1, of_seed, np.arange(50))
    assert high - low < 0.01
    assert p == pytest.approx(statistics.floor(1000))
    low, high, _ = difference(of_seed + 0.1, np.zeros(50), np.arange(50))
    assert high - low > 0.5


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
    assert p == pytest.approx(statistics.floor(1000))


def test_an_outcome_that_nobody_has_is_unknown() -> None:
    sums = counts = np.array([[[1.0, 0.0]] * 4])
    (weights,) = statistics.resamples(4, 1, 20, 0)
    means = statistics.resampled_means(sums, counts, *weights)
    low, high, p = statistics.intervals(means - means)
    assert p[0] == 1
    assert np.isnan([low[1], high[1], p[1]]).all()


def test_holm_by_hand() -> None:
    found = statistics.holm(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(statistics.holm(np.array([np.nan]))).all()
