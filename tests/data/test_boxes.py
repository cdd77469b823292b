"""Boxes: laws that hold for any of them, and COCO's own code as a second opinion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from camground.data.box_lists import BoxLists
from camground.data.boxes import OVERHANG, area, clip, fit_box, pairwise_iou, xywh_to_xyxy
from camground.evaluation.metrics import aligned_iou, pointing

number = st.floats(-2000, 2000, allow_nan=False, width=32)
side = st.floats(0.0625, 2000, allow_nan=False, width=32)
xywh = st.tuples(number, number, side, side)
anything = st.one_of(
    st.just(10**400),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.none()),
)


def corners(boxes_xywh: list[tuple[float, ...]]) -> np.ndarray:
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


@given(st.lists(xywh, min_size=1, max_size=6), st.lists(xywh, min_size=1, max_size=6))
def test_iou_is_that_of_coco(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> None:
    expected = coco_mask.iou(np.array(one), np.array(other), [0] * len(other))
    assert pairwise_iou(corners(one), corners(other)) == pytest.approx(expected, abs=1e-6)


@given(xywh, xywh, number, number, st.floats(0.1, 10))
def test_iou_is_a_share_that_no_move_and_no_scale_changes(
    one: tuple[float, ...], other: tuple[float, ...], right: float, down: float, scale: float
) -> None:
    a, b = corners([one]), corners([other])
    (iou,) = aligned_iou(a, b)
    assert 0 <= iou <= 1 + 1e-12
    assert iou == aligned_iou(b, a)[0] == pairwise_iou(a, b)[0, 0]
    assert aligned_iou(a, a)[0] == pytest.approx(1)
    moved = [scale * (boxes + np.array([right, down] * 2)) for boxes in (a, b)]
    assert aligned_iou(*moved)[0] == pytest.approx(iou, abs=1e-6)


@given(xywh, number, number)
def test_a_point_is_in_a_box_where_it_adds_nothing_to_it(box: tuple[float, ...], x: float, y: float) -> None:
    (a,) = corners([box])
    around = np.concatenate([np.minimum(a[:2], [x, y]), np.maximum(a[2:], [x, y])])
    inside = pointing(np.array([[x, y]]), BoxLists(a[None], np.array([1])))[0]
    assert inside == np.array_equal(around, a)


@given(xywh, st.integers(1, 1500), st.integers(1, 1500))
def test_a_box_that_fits_is_inside_and_differs_by_rounding_alone(
    box: tuple[float, ...], width: int, height: int
) -> None:
    given_box = tuple(corners([box])[0])
    try:
        fitted = fit_box(given_box, width, height)
    except ValueError:
        outside = max(-given_box[0], -given_box[1], given_box[2] - width, given_box[3] - height)
        assert outside > OVERHANG or area(clip(np.array(given_box), width, height)) == 0
        return
    x1, y1, x2, y2 = fitted
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    assert np.abs(np.array(fitted) - given_box).max() <= OVERHANG + 1e-5
    assert fitted == tuple(clip(np.array(given_box), width, height))
    assert fit_box(fitted, width, height) == fitted


@given(st.one_of(anything, st.lists(anything, max_size=6)))
def test_anything_is_a_box_of_positive_sides_or_a_value_error(values: Any) -> None:
    try:
        x1, y1, x2, y2 = xywh_to_xyxy(values)
    except ValueError:  # `SharesError` is one
        return
    assert all(map(math.isfinite, (x1, y1)))
    assert max(x1, y1, x2 - x1, y2 - y1) > 0
    assert x2 >= x1
    assert y2 >= y1
