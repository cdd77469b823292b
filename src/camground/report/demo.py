"""A page on which a model can be tried (`camground demo`): what it shows of a photograph and phrases, and the
gradio app around that. Gradio is an extra: no study needs it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from camground.report.drawing import COLOURS, NOT_THERE, draw_boxes
from camground.report.gallery import heat_rgba
from camground.study.errors import UserError

CANDIDATES = 5
HEADINGS = ["phrase", "is there", "xmin, ymin, xmax, ymax"]
Ground = Callable[..., list[dict[str, Any]]]


def require_gradio() -> Any:
    """The library; `UserError` where it is not installed."""
    try:
        return import_module("gradio")
    except ImportError as error:
        raise UserError(f"the page needs gradio ({error}): python -m pip install gradio") from None


def show(
    ground: Ground, photograph: Image.Image | None, text: str
) -> tuple[Image.Image, list[tuple[Image.Image, str]], list[list[Any]]]:
    """What the page shows: the photograph with the boxes of the phrases, one a line of `text`; pictures of
    each phrase with what they are, its own CAM, the matcher's and the best candidates; rows of `HEADINGS`.

    `UserError` where there is nothing to ground.
    """
    phrases = [phrase for line in text.splitlines() if (phrase := line.strip())]
    if photograph is None or not phrases:
        raise UserError("give a photograph and a phrase; several phrases stand in a line each")
    answers = ground(photograph, phrases, cams=True, candidates=True)
    from camground.data.photographs import read_photograph

    upright = read_photograph(photograph)
    drawn, pictures, rows = upright.copy(), [], []
    draw_boxes(drawn, answers)
    for answer in answers:
        phrase = answer["label"]
        pictures.append((overlaid(upright, answer["own_cam"]), f"{phrase}: the model's own Grad-CAM"))
        pictures.append((overlaid(upright, answer["matcher_cam"]), f"{phrase}: the matcher's Grad-CAM"))
        best = answer["candidates"][:CANDIDATES]
        pictures.append((with_candidates(upright, best), f"{phrase}: the {len(best)} best candidates"))
        box = ", ".join(f"{edge:.0f}" for edge in answer["box"].values())
        rows.append([phrase, f"{answer['score']:.0%}", box])
    return drawn, pictures, rows


def overlaid(photograph: Image.Image, heat: np.ndarray) -> Image.Image:
    """A map (h, w) in [0, 1] over a greyed photograph."""
    grey = photograph.convert("L").convert("RGBA")
    coloured = Image.fromarray(heat_rgba(heat)).resize(photograph.size, Image.Resampling.BICUBIC)
    grey.alpha_composite(coloured)
    return grey.convert("RGB")


def with_candidates(photograph: Image.Image, boxes_xyxy: np.ndarray) -> Image.Image:
    """Boxes (K, 4) in pixels, best first: the best in colour and on top."""
    picture = photograph.copy()
    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 250))
    for number, (left, top, right, bottom) in reversed([*enumerate(boxes_xyxy.tolist())]):
        colour = NOT_THERE if number else COLOURS[0]
        pen.rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line + (not number)
        )
    return picture


def make_page(ground: Ground) -> Any:
    """The gradio app around `show`."""
    gradio = require_gradio()

    def answer(photograph: Image.Image | None, text: str) -> Any:
        try:
            return show(ground, photograph, text)
        except UserError as error:
            raise gradio.Error(str(error)) from None

    with gradio.Blocks(title="camground", analytics_enabled=False) as page:
        gradio.Markdown(
            "# camground\nThe box of what a phrase means in a photograph, and the probability that it is"
            " there."
        )
        with gradio.Row():
            with gradio.Column():
                photograph = gradio.Image(type="pil", label="Photograph")
                text = gradio.Textbox(label="Phrases, one a line", lines=2, placeholder="the red boat")
                button = gradio.Button("Ground", variant="primary")
            with gradio.Column():
                drawn = gradio.Image(label="Boxes", format="png")
                rows = gradio.Dataframe(headers=HEADINGS, label="Boxes in pixels")
        pictures = gradio.Gallery(label="Grad-CAMs and candidates", columns=3)
        button.click(answer, [photograph, text], [drawn, pictures, rows], api_name="ground")
    return page
