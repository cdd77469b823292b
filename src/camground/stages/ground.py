"""Tool `ground`: the boxes of phrases in any photograph, by a trained study's model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from PIL.Image import Image

RED = (220, 40, 40)


def ground(
    model: Annotated[Path, typer.Argument(help="Model folder, which the stage tracking makes.")],
    photograph: Annotated[Path, typer.Argument(help="Image file.")],
    phrases: Annotated[list[str], typer.Argument(help="Phrases to find; one box each.")],
    drawn: Annotated[
        Path | None, typer.Option(help="File to write the photograph with the boxes to.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device of the networks, as PyTorch names it.")] = "cpu",
) -> None:
    """Ground phrases in a photograph: print each one's box (pixels) and score as CSV."""
    import csv
    import sys

    from camground.data.photographs import read_photograph
    from camground.pipeline import GroundingPipeline

    answers = GroundingPipeline.from_pretrained(model, device)(photograph, phrases)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["text", "x1", "y1", "x2", "y2", "score"])
    for answer in answers:
        box = [round(edge, 2) for edge in answer["box"].values()]
        table.writerow([answer["label"], *box, round(answer["score"], 2)])
    if drawn is not None:
        picture = read_photograph(photograph)
        draw_boxes(picture, answers)
        picture.save(drawn)


def draw_boxes(picture: Image, answers: list[dict[str, Any]]) -> None:
    """Draw every answer's box and phrase into `picture`, as large as the picture asks for; a box's right and
    lower edge are exclusive."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 300))
    font_size = max(10, 6 * line)
    for answer in answers:
        left, top, right, bottom = answer["box"].values()
        pen.rectangle((left, top, right - 1, bottom - 1), outline=RED, width=line)
        at = (left + 2 * line, top + line)
        pen.text(
            at, answer["label"], fill=RED, font_size=font_size, stroke_width=line // 2, stroke_fill="white"
        )
