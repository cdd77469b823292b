"""Tool `ground`: the boxes of phrases in any photograph, by a trained study's model."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from camground.study.errors import UserError
from camground.study.progress import log

CORNERS = ("xmin", "ymin", "xmax", "ymax")
Row: TypeAlias = "dict[str, Any]"


def ground(
    model: Annotated[
        str, typer.Argument(help="Model folder, which the stage tracking makes, or its name on the hub.")
    ],
    photograph: Annotated[
        str | None, typer.Argument(help="Image file, or the address of one (http, https).")
    ] = None,
    phrases: Annotated[list[str] | None, typer.Argument(help="Phrases to find; one box each.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with columns image, phrase, in place of photograph and phrases; the image files'"
            " paths start at its folder."
        ),
    ] = None,
    drawn: Annotated[
        Path | None, typer.Option(help="File to write the photograph with the boxes to.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not CSV.")] = False,
    device: Annotated[str, typer.Option(help="Device of the networks, as PyTorch names it.")] = "cpu",
) -> None:
    """Ground phrases in photographs: print each one's box and score.

    The score is the probability that what the phrase means is in the photograph; the box, in pixels of the
    upright photograph, is the best there is, however low the score. Rows of a --table that cannot be answered
    say why in the column error, and leave the others be.
    """
    from camground.grounder.model_folder import find_model, read_settings

    # all that can be wrong, before PyTorch is imported and anything is written
    if table is None:
        answer_all = _photograph(photograph, phrases or [], drawn)
    elif photograph is not None or phrases:
        raise UserError("--table: names photographs and phrases itself; give no others")
    elif drawn is not None:
        raise UserError("--drawn: draws into one photograph; give it and its phrases, and no --table")
    else:
        answer_all = _table(table)
    folder = find_model(model)
    read_settings(folder)

    from camground.pipeline import GroundingPipeline

    rows = answer_all(GroundingPipeline.from_pretrained(folder, device))
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "phrase", *CORNERS, "score", *(["error"] if table else [])])
    for row in rows:
        numbers = [""] * 5
        if "box" in row:
            numbers = [*(round(row["box"][corner], 2) for corner in CORNERS), round(row["score"], 3)]
        writer.writerow([row["image"], row["label"], *numbers, *([row.get("error", "")] if table else [])])


def _photograph(given: str | None, phrases: list[str], drawn: Path | None) -> Callable[[Any], list[Row]]:
    """What grounds phrases in one photograph, and draws them; `UserError` for what cannot be."""
    from camground.data.photographs import download, is_address, read_photograph
    from camground.data.readers.inputs import require_words
    from camground.report.drawing import draw_boxes
    from camground.study import tables

    if given is None or not phrases:
        raise UserError("give a photograph and phrases, or a --table of them")
    require_words(phrases)
    source = download(given) if is_address(given) else Path(given)
    picture = read_photograph(source)
    form = None if drawn is None else image_format(drawn, given)

    def answer(pipeline: Any) -> list[Row]:
        answers = pipeline(source, phrases)
        if drawn is not None:
            draw_boxes(picture, answers)
            try:
                with tables.atomic(drawn) as temporary:
                    picture.save(temporary, form)
            # encoders refuse a photograph in their own ways, such as one too large for WebP
            except (OSError, ValueError) as error:
                raise UserError(f"--drawn {drawn}: cannot be written ({error})") from None
        return [{"image": given, **each} for each in answers]

    return answer


def _table(file: Path) -> Callable[[Any], list[Row]]:
    """What grounds the rows of a CSV file, in their order; `UserError` where it is none."""
    from camground.data.readers.inputs import has_word, read_csv_rows
    from camground.data.rejected import Rejected

    rejected = Rejected()
    try:
        read = list(read_csv_rows(file, ["image", "phrase"], rejected))
    except OSError as error:
        raise UserError(f"--table {file}: cannot be read ({error.strerror})") from None
    rows: dict[int, Row] = {line: {"image": row["image"], "label": row["phrase"]} for line, row in read}
    of_image: dict[str, list[Row]] = {}
    for row in rows.values():
        if not row["image"]:
            row["error"] = "image: missing"
        elif not has_word(row["label"]):
            row["error"] = "phrase: missing, or without a word"
        else:
            of_image.setdefault(row["image"], []).append(row)
    for refused in rejected.rows:
        rows[refused.row] = {"image": "", "label": "", "error": str(refused)}

    def answer(pipeline: Any) -> list[Row]:
        for image, listed in of_image.items():
            try:
                answers = pipeline(file.parent / image, [row["label"] for row in listed])
            except UserError as problem:
                answers = [{"error": str(problem)}] * len(listed)
            for row, found in zip(listed, answers, strict=True):
                row |= found
        ordered = [rows[line] for line in sorted(rows)]
        if failed := sum("error" in row for row in ordered):
            log.warning("%d of %d rows have no answer; the column error says why", failed, len(ordered))
        return ordered

    return answer


def image_format(drawn: Path, photograph: str) -> str:
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
    if drawn.exists() and Path(photograph).exists() and drawn.samefile(photograph):
        raise UserError(f"--drawn {drawn}: is the photograph itself; name another file")
    try:
        # it takes its name when it is whole, so it is the folder that must be open to writing
        tempfile.TemporaryFile(dir=drawn.parent).close()
    except OSError as error:
        raise UserError(f"--drawn {drawn}: {drawn.parent} cannot be written to ({error.strerror})") from None
    return form
