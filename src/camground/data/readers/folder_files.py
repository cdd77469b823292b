"""The files of a folder of photographs: where they are, and their rows, checked one by one.

captions.csv has the columns image, caption; phrases.csv has image, phrase, x, y, width, height: one
box a row, in pixels of the photograph, 0-based.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from camground.data.boxes import Box, xywh_to_xyxy
from camground.data.readers import csv_rows
from camground.data.readers.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import log

BOX_COLUMNS = ["x", "y", "width", "height"]


@dataclass(frozen=True)
class Caption:
    image_id: str
    text: str
    line: int


@dataclass(frozen=True)
class BoxedPhrase:
    """One row of phrases.csv; several rows of a phrase are several boxes of one expression."""

    image_id: str
    text: str
    line: int
    box_xyxy: Box


class Sources:
    """The input files of a folder data set."""

    def __init__(self, data_root: str | None, config: dict[str, Any]) -> None:
        if not data_root:
            raise UserError(
                "data.kind is folder, but data_root is not set; give the folder of photographs, for"
                " example: snakemake --configfile configs/photos.yaml --config data_root=DIR"
            )
        self.root = Path(data_root).expanduser().absolute()
        self.images = self.root / config["images"]
        self.captions = self.root / config["captions"]
        phrases = self.root / config["phrases"] if config["phrases"] else None
        self.phrases = phrases if phrases and phrases.is_file() else None
        if not self.root.is_dir():
            raise UserError(f"data_root: no folder {self.root}; set it to your photographs' folder")
        if not self.images.is_dir():
            raise UserError(
                f"{self.images}: no such folder; put the photographs there, or set"
                " data.folder.images to the folder's name inside data_root"
            )
        if not self.captions.is_file():
            raise UserError(
                f"{self.captions}: no such file; training needs a CSV file with the columns image"
                " and caption; put it there, or set data.folder.captions to its name in data_root"
            )
        if phrases and not self.phrases:
            log.warning(
                "%s: not there, so there are no phrases with boxes: training runs, but there is"
                " nothing to measure and the tables of results stay empty",
                phrases,
            )


def inside_folder(name: str) -> str:
    """A photograph's normalised path inside the images folder, which is its id too.

    Raises:
        ValueError: empty, absolute, or leading out of the folder.
    """
    if not name:
        raise ValueError("no photograph named")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a photograph is named by its path inside the images folder")
    return path.as_posix()


def checked_text(text: str, kind: str) -> str:
    """`text`; ValueError when it has not a letter or digit. kind: what it is, for the message."""
    if not text:
        raise ValueError(f"empty {kind}")
    if not any(letter.isalnum() for letter in text):
        raise ValueError(f"empty {kind}: not a letter in it")
    return text


def read_captions(path: Path, rejected: Rejected) -> Iterator[Caption]:
    """Rows of captions.csv that are well formed; the others go to `rejected`."""
    for row in csv_rows.read(path, ["image", "caption"], rejected):
        try:
            yield Caption(
                inside_folder(row.values["image"]),
                checked_text(row.values["caption"], "caption"),
                row.line,
            )
        except ValueError as error:
            rejected.add(path, row.line, ",".join(row.values.values()), str(error))


def read_phrases(path: Path, rejected: Rejected) -> Iterator[BoxedPhrase]:
    """Rows of phrases.csv that are well formed; the others go to `rejected`."""
    for row in csv_rows.read(path, ["image", "phrase", *BOX_COLUMNS], rejected):
        try:
            yield BoxedPhrase(
                inside_folder(row.values["image"]),
                checked_text(row.values["phrase"], "phrase"),
                row.line,
                xywh_to_xyxy(row.values[name] for name in BOX_COLUMNS),
            )
        except ValueError as error:
            rejected.add(path, row.line, ",".join(row.values.values()), str(error))
