"""Answers drawn into a photograph: labels stay inside it, apart from each other, and can be read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from camground.report.drawing import COLOURS, NOT_THERE, draw_boxes

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def answer(label: str, box: tuple[float, ...], score: float = 0.9) -> dict:
    return {"label": label, "score": score, "box": dict(zip(CORNERS, box, strict=True))}


def coloured(picture: Image.Image, colour: str) -> np.ndarray:
    """(H, W) bool: the pixels of a colour."""
    return (np.asarray(picture) == tuple(bytes.fromhex(colour[1:]))).all(-1)


def label_of(picture: Image.Image, colour: str, box: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Where the ground of a label lies, xyxy: the pixels of its colour that are outside its box."""
    found = coloured(picture, colour)
    found[box[1] : box[3], box[0] : box[2]] = False
    rows, columns = np.nonzero(found)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_label_stands_over_its_box_and_is_white_on_its_colour() -> None:
    picture = Image.new("RGB", (400, 300), "gray")
    draw_boxes(picture, [answer("the red boat", (100, 100, 200, 200))])
    left, top, right, bottom = label_of(picture, COLOURS[0], (100, 100, 200, 200))
    assert (left, bottom) == (100, 100)
    ground = np.asarray(picture)[top:bottom, left:right]
    white = (ground > 180).all(-1)
    assert 0.05 < white.mean() < 0.5
    assert not any(side.any() for side in (white[0], white[-1], white[:, 0], white[:, -1]))


@pytest.mark.parametrize("box", [(390, 0, 400, 10), (0, 0, 400, 300), (395, 290, 400, 300)])
def test_a_label_never_leaves_the_picture(box: tuple[int, ...]) -> None:
    long = "the very small striped boat left of the old house behind the tree at the lake " * 2
    picture = Image.new("RGB", (400, 300), "gray")
    draw_boxes(picture, [answer(long, box)])
    white = (np.asarray(picture) > 180).all(-1)
    rows, columns = np.nonzero(white)
    # its letters end before the frame does, so nothing was cut off
    assert columns.min() > 0
    assert rows.min() > 0
    assert columns.max() < 399
    assert rows.max() < 299
    assert white.sum() > 500


def test_labels_of_one_place_stand_apart() -> None:
    picture = Image.new("RGB", (400, 300), "gray")
    box = (100, 100, 200, 200)
    draw_boxes(picture, [answer("boat", box), answer("dog", box), answer("cat", box)])
    counts = [coloured(picture, colour).sum() for colour in COLOURS[:3]]
    assert min(counts) > 300
    tops = [np.nonzero(coloured(picture, colour)[:, 110])[0].min() for colour in COLOURS[:3]]
    assert len(set(tops)) == 3


def test_lines_grow_with_the_picture_and_what_is_not_there_is_grey_and_thin() -> None:
    widths = []
    for side in (100, 2000):
        picture = Image.new("RGB", (side, side), "gray")
        box = (side // 4, side // 2, side // 2, 3 * side // 4)
        draw_boxes(picture, [answer("boat", box), answer("dog", box, 0.1)])
        row = coloured(picture, COLOURS[0])[5 * side // 8]
        widths.append(row[: 3 * side // 8].sum())
        assert coloured(picture, NOT_THERE).any()
    assert widths[0] == 1
    assert widths[1] == 8


def test_a_picture_smaller_than_its_label_is_drawn_all_the_same() -> None:
    picture = Image.new("RGB", (8, 6), "gray")
    draw_boxes(picture, [answer("boat", (1, 1, 5, 4))])
    assert picture.size == (8, 6)
