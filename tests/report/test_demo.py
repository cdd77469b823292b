"""The page for trying a model: what it shows, and the app around it where gradio is installed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camground.report.demo import HEADINGS, make_page, show
from camground.report.drawing import COLOURS
from camground.study.errors import UserError


def ground(photograph: Image.Image, phrases: list[str], cams: bool, candidates: bool) -> list[dict[str, Any]]:
    """Answers whose own CAM is hot on the left and whose matcher's is hot on the right."""
    assert cams
    assert candidates
    own = np.zeros((4, 4), np.float32)
    own[:, 0] = 1
    box = {"xmin": 10.0, "ymin": 40.0, "xmax": 60.0, "ymax": 90.0}
    boxes = np.array([[10, 40, 60, 90], [5, 5, 95, 95]], np.float32)
    common = {"box": box, "own_cam": own, "matcher_cam": own[:, ::-1], "candidates": boxes}
    return [{"label": phrase, "score": 0.875, **common} for phrase in phrases]


def test_boxes_maps_and_candidates_of_every_phrase_are_shown() -> None:
    photograph = Image.new("RGB", (100, 100), "gray")
    drawn, pictures, rows = show(ground, photograph, " the boat \n\nthe dog")
    assert rows == [[phrase, "88%", "10, 40, 60, 90"] for phrase in ("the boat", "the dog")]
    assert len(HEADINGS) == len(rows[0])
    assert np.asarray(photograph).std() == 0  # the caller's own is left as it was
    red = tuple(bytes.fromhex(COLOURS[0][1:]))
    assert drawn.size == (100, 100)
    assert (np.asarray(drawn) == red).all(-1).any()
    assert [title for _, title in pictures[:3]] == [
        *("the boat: the model's own Grad-CAM", "the boat: the matcher's Grad-CAM"),
        "the boat: the 2 best candidates",
    ]
    own, matcher, candidates = (np.asarray(picture, dtype=float) for picture, _ in pictures[:3])
    # hot is coloured, cold is grey
    spread = [picture.max(-1) - picture.min(-1) for picture in (own, matcher)]
    assert spread[0][:, :20].mean() > 5 * spread[0][:, 80:].mean()
    assert spread[1][:, 80:].mean() > 5 * spread[1][:, :20].mean()
    assert (candidates[60, 10] == red).all()
    assert len(pictures) == 6


def test_nothing_to_ground_is_said() -> None:
    for photograph, text in ((None, "boat"), (Image.new("RGB", (9, 9)), " \n")):
        with pytest.raises(UserError, match="give a photograph and a phrase"):
            show(ground, photograph, text)


def test_a_missing_gradio_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"the page needs gradio .*: python -m pip install gradio"):
        make_page(ground)


def test_the_app_is_built() -> None:
    pytest.importorskip("gradio")
    page = make_page(ground)
    kinds = {type(block).__name__ for block in page.blocks.values()}
    assert {"Image", "Textbox", "Button", "Dataframe", "Gallery"} <= kinds
