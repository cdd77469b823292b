"""The files of a folder of photographs, and their rows, checked one by one.

captions.csv has the columns image, caption; phrases.csv has image, phrase, x, y, width, height: one
box per row, in pixels of the photograph, 0-based.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from camground.data.boxes import Box, xywh_to_xyxy
from camground.data.config import FolderConfig
from camground.data.readers.csv_rows import read_csv_rows
from camground.data.readers.source_paths import existing_folder, has_word, inside_folder
from camground.data.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import log

BOX_COLUMNS = ("x", "y", "width", "height")


@dataclass(frozen=True)
class TextRow:
    """A row of captions.csv, or of phrases.csv, which has a box; `line`: where the row starts.

    Several rows of one phrase are several boxes of one expression.
    """

    image_id: str
    text: str
    line: int
    box_xyxy: Box | None


def source_files(root: Path, config: FolderConfig) -> tuple[Path, Path | None, Path]:
    """captions.csv, phrases.csv where it is there (warns where not), and the folder of the images.

    `UserError` for what is missing below `root`.
    """
    phrases = root / config.phrases if config.phrases else None
    if phrases and not phrases.is_file():
        log.warning(
            "%s: not there, so there are no phrases with boxes: training runs, but there is"
            " nothing to measure and the tables of results stay empty",
            phrases,
        )
        phrases = None
    images = existing_folder(
        root / config.images,
        "put the photographs there, or set data.folder.images to the folder's name inside data_root",
    )
    captions = root / config.captions
    if not captions.is_file():
        raise UserError(
            f"{captions}: no such file; training needs a CSV file with the columns image and caption; put it"
            " there, or set data.folder.captions to its name in data_root"
        )
    return captions, phrases, images


def read_captions(path: Path, rejected: Rejected) -> Iterator[TextRow]:
    """Rows of captions.csv that are well formed; the others go to `rejected`."""
    return _read_rows(path, "caption", (), rejected)


def read_phrases(path: Path, rejected: Rejected) -> Iterator[TextRow]:
    """Rows of phrases.csv that are well formed, each with its box; the others go to `rejected`."""
    return _read_rows(path, "phrase", BOX_COLUMNS, rejected)


def _read_rows(
    path: Path, column: str, box_columns: tuple[str, ...], rejected: Rejected
) -> Iterator[TextRow]:
    for line, values in read_csv_rows(path, ["image", column, *box_columns], rejected):
        text = values[column]
        try:
            if not has_word(text):
                raise ValueError(f"empty {column}" + (": not a letter in it" if text else ""))
            box = xywh_to_xyxy(values[name] for name in box_columns) if box_columns else None
            yield TextRow(inside_folder(values["image"]), text, line, box)
        except ValueError as error:
            rejected.add(path, line, ",".join(values.values()), error)
