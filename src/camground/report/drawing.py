"""Answers drawn into a photograph, to be read at any size: boxes, and labels on a ground of their colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from camground.grounder.config import FOUND_FROM

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Dark enough for white letters; after Okabe and Ito, as the charts' are.
COLOURS = ("#c8102e", "#1f5fbf", "#0b7a5c", "#a8327d", "#9a5a00", "#5b43b5")
NOT_THERE = "#5a6372"


def draw_boxes(picture: Image, answers: Sequence[dict[str, Any]]) -> None:
    """Draw every answer's box, phrase and score into `picture`, RGB, as large as the picture asks for.

    A box's right and lower edge are exclusive. One whose score says that the phrase is not in the picture is
    grey and thin, and lies below the others. A label stands over its box, or in it where there is no room,
    and always inside the picture, shortened where it must be.
    """
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 250))
    font = ImageFont.load_default(max(10, round(max(picture.size) / 36)))
    styles = [
        (answer, COLOURS[number % len(COLOURS)] if answer["score"] >= FOUND_FROM else NOT_THERE)
        for number, answer in enumerate(answers)
    ]
    styles.sort(key=lambda style: style[1] != NOT_THERE)
    for answer, colour in styles:
        left, top, right, bottom = answer["box"].values()
        width = line if colour != NOT_THERE else max(1, line // 2)
        # a box may be thinner than the pen
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
    taken: list[tuple[float, float, float, float]] = []
    for answer, colour in styles:
        _label(pen, picture.size, font, answer, colour, taken)


def _label(
    pen: ImageDraw,
    size: tuple[int, int],
    font: FreeTypeFont | ImageFont,
    answer: dict[str, Any],
    colour: str,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write the answer's phrase and score where none of the labels that are `taken` stands."""
    pad = max(1, round(font.size / 4)) if hasattr(font, "size") else 2
    text = _fitting(pen, answer["label"], f" {answer['score']:.0%}", font, size[0] - 2 * pad)
    x1, y1, x2, y2 = pen.textbbox((0, 0), text, font)
    width, height = x2 - x1 + 2 * pad, y2 - y1 + 2 * pad
    left, top, _, bottom = answer["box"].values()
    left = min(max(left, 0), max(size[0] - width, 0))
    # over the box, else inside it, else under it, else wherever there is room below
    places = [top - height, top, bottom, *range(0, size[1], max(1, round(height)))]
    free = [y for y in places if 0 <= y <= size[1] - height and not _meets(left, y, width, height, taken)]
    y = free[0] if free else min(max(top, 0), max(size[1] - height, 0))
    taken.append((left, y, left + width, y + height))
    pen.rectangle((left, y, left + width - 1, y + height - 1), fill=colour)
    pen.text((left + pad - x1, y + pad - y1), text, fill="white", font=font)


def _meets(
    x: float, y: float, width: float, height: float, taken: list[tuple[float, float, float, float]]
) -> bool:
    return any(
        x < right and left < x + width and y < low and top < y + height for left, top, right, low in taken
    )


def _fitting(pen: ImageDraw, label: str, ending: str, font: Any, room: float) -> str:
    """The label with its ending, cut with an ellipsis to what there is room for."""
    text = label + ending
    while pen.textlength(text, font) > room and label:
        label = label[:-1]
        text = f"{label.rstrip()}…{ending}"
    return text
