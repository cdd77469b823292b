"""Metrics of boxes against counting pixels and against examples by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camground.data.box_lists import BoxLists
from camground.data.boxes import pairwise_iou
from camground.evaluation import metrics
from camground.study import schemas

corner = st.integers(0, 15)
side = st.integers(1, 8)
box = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], corner, corner, side, side)


def box_lists(lists: list) -> BoxLists:
    boxes = np.array([box for boxes in lists for box in boxes], dtype=np.float64).reshape(-1, 4)
    return BoxLists(boxes, np.array([len(boxes) for boxes in lists], dtype=np.int64))


def pixels(b: list[int]) -> np.ndarray:
    grid = np.zeros((32, 32), dtype=bool)
    grid[b[1] : b[3], b[0] : b[2]] = True
    return grid


@given(box, box)
def test_iou_counts_pixels(a: list[int], b: list[int]) -> None:
    expected = (pixels(a) & pixels(b)).sum() / (pixels(a) | pixels(b)).sum()
    iou = metrics.aligned_iou(np.array([a]), np.array([b]))
    assert iou == pytest.approx([expected])
    assert iou == pytest.approx(pairwise_iou(np.array(a), np.array(b))[0])


@given(st.lists(st.lists(box, max_size=3), min_size=1, max_size=6), st.data())
def test_lists_equal_a_loop(lists: list[list], data: st.DataObject) -> None:
    made = box_lists(lists)
    boxes = np.array(data.draw(st.lists(box, min_size=len(lists), max_size=len(lists))))
    size = int(made.counts.sum())
    values = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    expected = [
        max((metrics.aligned_iou(np.array([b]), np.array([t]))[0] for t in targets), default=0.0)
        for b, targets in zip(boxes, lists, strict=True)
    ]
    assert metrics.best_iou(boxes, made) == pytest.approx(expected)
    parts = np.split(values, np.cumsum(made.counts)[:-1])
    assert made.argmax(values).tolist() == [int(p.argmax()) if len(p) else -1 for p in parts]
    again = data.draw(st.lists(st.integers(-1, len(lists) - 1)))
    taken = made.take(np.array(again, dtype=int))
    wanted = box_lists([lists[i] if i >= 0 else [] for i in again])
    np.testing.assert_array_equal(taken.boxes_xyxy, wanted.boxes_xyxy)
    np.testing.assert_array_equal(taken.counts, wanted.counts)


def test_lists_from_arrow_keep_empty_and_null() -> None:
    lists = [[[0, 1, 2, 3]], None, [], [[4, 5, 6, 7], [8, 9, 10, 11]]]
    made = BoxLists.from_arrow(pa.chunked_array([pa.array(lists, type=schemas.BOXES)]))
    assert made.counts.tolist() == [1, 0, 0, 2]
    assert made.boxes_xyxy[:, 0].tolist() == [0, 4, 8]


def test_merged_box_is_around_all_and_any_box_takes_the_best() -> None:
    lists = box_lists([[[0, 0, 2, 2], [8, 0, 10, 2]], []])
    assert lists.merged().boxes_xyxy.tolist() == [[0, 0, 10, 2]]
    assert lists.merged().counts.tolist() == [1, 0]
    boxes = np.array([[8, 0, 10, 2], [0, 0, 1, 1]])
    assert metrics.best_iou(boxes, lists).tolist() == [1.0, 0.0]
    assert metrics.best_iou(boxes, lists.merged()).tolist() == [0.2, 0.0]


def test_comparison_differs_at_the_threshold_alone() -> None:
    iou = np.array([0.49, 0.5, 0.51])
    assert metrics.hit(iou, 0.5, ">=").tolist() == [False, True, True]
    assert metrics.hit(iou, 0.5, ">").tolist() == [False, False, True]


def test_pointing_needs_any_box() -> None:
    targets = box_lists([[[0, 0, 2, 2], [8, 8, 9, 9]]] * 3)
    points = np.array([[1, 1], [8.5, 8.5], [5, 5]])
    assert metrics.pointing(points, targets).tolist() == [True, True, False]


def test_best_proposal() -> None:
    proposals = box_lists([[[0, 0, 9, 9], [0, 0, 4, 4]], [], [[5, 5, 9, 9]]])
    targets = box_lists([[[0, 0, 4, 4]], [[0, 0, 4, 4]], [[0, 0, 4, 4]]])
    iou, place = metrics.best_proposal_iou(proposals, targets)
    assert iou.tolist() == [1.0, 0.0, 0.0]
    assert place.tolist() == [1, -1, 0]


def test_right_object() -> None:
    objects = box_lists([[[0, 0, 4, 4], [6, 0, 10, 4]]] * 4 + [[]])
    boxes = np.array([[0, 0, 4, 2], [5, 0, 10, 4], [0, 0, 10, 4], [0, 0, 4, 4], [0, 0, 4, 4]])
    index = np.array([0, 0, 0, -1, 0])
    found = metrics.right_object(boxes, objects, index)
    # Inside the object; on the other; both equally (a tie is wrong); not known; no objects.
    np.testing.assert_array_equal(found, [1, 0, 0, np.nan, np.nan])
