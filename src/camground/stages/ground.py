"""Tool `ground`: the boxes of phrases in any photograph, by a trained study's model."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camground.study.errors import UserError

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
    from camground.data.readers.inputs import require_words
    from camground.grounder.model_folder import read_settings

    # all that can be wrong, before PyTorch is imported and anything is written
    require_words(phrases)
    picture = read_photograph(photograph)
    form = None if drawn is None else image_format(drawn, photograph)
    read_settings(model)

    from camground.pipeline import GroundingPipeline
    from camground.study import tables

    answers = GroundingPipeline.from_pretrained(model, device)(photograph, phrases)
    if drawn is not None:
        draw_boxes(picture, answers)
        try:
            with tables.atomic(drawn) as temporary:
                picture.save(temporary, form)
        # encoders refuse a photograph in their own ways, such as one too large for WebP
        except (OSError, ValueError) as error:
            raise UserError(f"--drawn {drawn}: cannot be written ({error})") from None
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["text", "x1", "y1", "x2", "y2", "score"])
    for answer in answers:
        box = [round(edge, 2) for edge in answer["box"].values()]
        table.writerow([answer["label"], *box, round(answer["score"], 2)])


def image_format(drawn: Path, photograph: Path) -> str:
    """Pillow's name of the format that a file to draw to is of, by its ending.

    Raises `UserError` for one that no colours can be written to, and for the photograph itself.
    """
    from PIL import Image

    form = Image.registered_extensions().get(drawn.suffix.lower(), "")
    try:
        Image.new("RGB", (1, 1)).save(io.BytesIO(), form)
    except (KeyError, OSError, ValueError):
        raise UserError(
            f"--drawn {drawn}: {drawn.suffix or 'no ending'} cannot be drawn to; end it with .png or .jpg"
        ) from None
    if not drawn.parent.is_dir():
        raise UserError(f"--drawn {drawn}: no folder {drawn.parent}; make it first")
    if drawn.is_dir():
        raise UserError(f"--drawn {drawn}: is a folder; name a file")
    if drawn.exists() and drawn.samefile(photograph):
        raise UserError(f"--drawn {drawn}: is the photograph itself; name another file")
    try:
        # it takes its name when it is whole, so it is the folder that must be open to writing
        tempfile.TemporaryFile(dir=drawn.parent).close()
    except OSError as error:
        raise UserError(f"--drawn {drawn}: {drawn.parent} cannot be written to ({error.strerror})") from None
    return form


def draw_boxes(picture: Image, answers: list[dict[str, Any]]) -> None:
    """Draw every answer's box and phrase into `picture`, as large as the picture asks for; a box's right and
    lower edge are exclusive."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 300))
    font_size = max(10, 6 * line)
    for answer in answers:
        left, top, right, bottom = answer["box"].values()
        # a box may be thinner than the pen
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=RED, width=line)
        at = (left + 2 * line, top + line)
        pen.text(
            at, answer["label"], fill=RED, font_size=font_size, stroke_width=line // 2, stroke_fill="white"
        )
