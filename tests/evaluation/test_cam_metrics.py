"""Metrics of maps: resampling against torch, statistics by hand, invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camground.evaluation import metrics
from camground.matcher import map_geometry


@pytest.mark.parametrize(("size", "grid"), [((7, 5), (31, 64)), ((8, 8), (8, 8)), ((9, 12), (4, 5))])
def test_enlarge_is_bilinear(size: tuple[int, int], grid: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(0).random((3, *size)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=grid, mode="bilinear", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(map_geometry.enlarge(maps, grid), expected, atol=1e-5)


def test_masks_shrink_by_area_and_keep_their_share() -> None:
    mask = np.zeros((60, 90), dtype=np.uint8)
    mask[10:33, 7:50] = 1
    small = metrics.mask_region(mask, (20, 31))
    assert small.mean() == pytest.approx(mask.mean(), abs=1e-6)
    assert small.min() >= 0
    assert small.max() <= 1 + 1e-6
    # The same region as a box.
    region = metrics.box_region(np.array([[7.0, 10, 50, 33]]), 90, 60, (20, 31))
    np.testing.assert_allclose(region, small, atol=1e-5)


def test_statistics_by_hand() -> None:
    maps = np.array([[[1.0, 0.6, 0.0, 0.4]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    region = np.array([[[1.0, 0.0, 1.0, 1.0]]] * 3)
    found = metrics.region_statistics(maps, region, 0.5)
    # T covers cells 0 and 1; the object cells 0, 2, 3.
    assert found["coverage"][0] == pytest.approx(1 / 3)
    assert found["iou"][0] == pytest.approx(1 / 4)
    assert found["energy"][0] == pytest.approx(1.4 / 2.0)
    assert found["spill"][0] == pytest.approx(1 / 2)
    assert [found[name][1] for name in ("coverage", "iou", "energy")] == [0, 0, 0]
    assert np.isnan(found["spill"][1])
    assert [found[name][2] for name in metrics.STATISTICS] == [1, 0.75, 0.75, 0.25]
    nothing = metrics.region_statistics(maps, region * 0, 0.5)
    assert all(np.isnan(value).all() for value in nothing.values())


@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_statistics_do_not_depend_on_scale(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    maps, region = random.random((2, 5, 6)), (random.random((2, 5, 6)) < 0.4).astype(float)
    first = metrics.region_statistics(maps, region, 0.5)
    second = metrics.region_statistics(maps * scale, region, 0.5)
    for name in metrics.STATISTICS:
        np.testing.assert_allclose(first[name], second[name], atol=1e-9)
        assert ((first[name] >= 0) & (first[name] <= 1) | np.isnan(first[name])).all()
    np.testing.assert_allclose(metrics.entropy(maps), metrics.entropy(maps * scale))


def test_entropy_limits() -> None:
    maps = np.zeros((3, 4, 4))
    maps[0, 1, 2], maps[1] = 3, 7
    np.testing.assert_allclose(metrics.entropy(maps), [0, 1, np.nan], atol=1e-12)


def test_peaks() -> None:
    maps = np.zeros((4, 3, 5))
    maps[0, 2, 0] = 1
    maps[2, 0, :3] = 1  # a plateau: its middle
    maps[3, :, :] = 0.5
    found = map_geometry.peaks(maps)
    assert found[0].tolist() == pytest.approx([0.1, 5 / 6])
    assert found[1].tolist() == found[3].tolist() == pytest.approx([0.5, 0.5])
    assert found[2].tolist() == pytest.approx([0.3, 1 / 6])


@given(st.integers(0, 10_000))
def test_box_sums_are_exact_for_fractions(seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = random.random((2, 4, 6))
    corners = np.sort(random.random((5, 2, 2)) * [[6, 4]], axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1)
    which = random.integers(0, 2, 5)
    found = map_geometry.box_sums(maps, which, boxes)
    for value, number, b in zip(found, which, boxes, strict=True):
        cover = metrics.box_region(b[None], 6, 4, (4, 6))
        assert value == pytest.approx((maps[number] * cover).sum(), rel=1e-5, abs=1e-6)


def test_threshold_boxes_take_the_largest_component_of_each_map() -> None:
    maps = np.zeros((3, 6, 8), dtype=np.float32)
    maps[0, 0, 0] = 1.0
    maps[0, 2:5, 3:6] = 0.6
    maps[0, 5, 6] = 0.5  # touches by its corner
    maps[1, 0:2, 0:3] = 0.9
    largest = map_geometry.threshold_boxes(maps, 0.5, "largest")
    assert largest.tolist() == [[3, 2, 7, 6], [0, 0, 3, 2], [0, 0, 0, 0]]
    everything = map_geometry.threshold_boxes(maps, 0.5, "all")
    assert everything.tolist() == [[0, 0, 7, 6], [0, 0, 3, 2], [0, 0, 0, 0]]


def test_grid_keeps_small_images_and_bounds_large_ones() -> None:
    assert map_geometry.grid_size(128, 96, 256) == (96, 128)
    assert map_geometry.grid_size(1024, 512, 256) == (128, 256)
    assert map_geometry.grid_size(4000, 2, 256) == (1, 256)
