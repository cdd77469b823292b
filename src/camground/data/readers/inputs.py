"""What a reader is pointed at: folders, the names of photographs in them, phrases, and CSV files.

CSV files are read row by row with the line on which each row starts, so that errors can point at it. Not
by pandas: it tells neither the line of a bad row nor a stray quote from the start of a long field.
"""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from camground.data.rejected import Rejected
from camground.study.errors import UserError

LONGEST = 255  # bytes of a file's name, on all usual file systems


def existing_folder(path: Path, advice: str) -> Path:
    """`path`, which must be a folder; else a `UserError` that ends with the advice."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; {advice}")
    return path


def inside_folder(name: str) -> str:
    """A photograph's normalised path inside the images folder, which is its id too. Raises `ValueError`:
    empty, absolute, leading out of the folder, or of no name that a file can have."""
    if not name:
        raise ValueError("no photograph named")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a photograph is named by its path inside the images folder")
    if "\0" in name or any(len(os.fsencode(part)) > LONGEST for part in path.parts):
        raise ValueError(f"no file has such a name: at most {LONGEST} bytes, none of them 0")
    return path.as_posix()


class NearNames:
    """The files below a folder, to say which of them a name that is not there may mean."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        files: dict[str, list[str]] = defaultdict(list)
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder).as_posix()
            for key in dict.fromkeys(_keys(name)):
                files[key].append(name)
        return files

    def advice(self, name: str) -> str:
        """What to add to "no such photograph": the nearest name of a file, or nothing where none is near."""
        near = next((self._by_key[key][0] for key in _keys(name) if key in self._by_key), None)
        if near is None:
            return ""
        plain = unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", name)
        why = " (the same letters in another Unicode normal form)" if plain else ""
        return f"; there is {near!r}{why}: name it as the file is named"


def _keys(name: str) -> list[str]:
    """What the names of one photograph have in common, the nearest first: its path but for case, white space,
    Unicode normal form and slashes; its file name; and that without the ending."""
    path = PurePosixPath(" ".join(unicodedata.normalize("NFKC", name).casefold().replace("\\", "/").split()))
    return [str(path), path.name, f"{path.stem}."]


def plain_id(value: Any) -> str:
    """An id as text, whether a file has it as a whole number, a float without fraction or text. Raises
    `ValueError` for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) not in (int, str):
        raise ValueError(f"the id {value!r} is no whole number and no text")
    return str(value)


def has_word(text: str) -> bool:
    """Whether a text has a letter or digit."""
    return any(letter.isalnum() for letter in text)


def require_words(texts: Sequence[str]) -> None:
    """`UserError` for the first of the phrases that has no letter or digit, or is no text."""
    for number, text in enumerate(texts, start=1):
        if not (isinstance(text, str) and has_word(text)):
            raise UserError(f"phrase {number}: {text!r} names nothing; say in words what to find")


def read_csv_rows(path: Path, columns: list[str], rejected: Rejected) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and values by column name, of `columns` alone, of each row of a UTF-8 file; the header is line 1.

    Whitespace of a text is normalised; of column `image`, the name of a file, only blanks around it are cut.
    Blank lines are skipped. A row with a missing or surplus field, misplaced quotes or bytes that are not
    UTF-8 goes to `rejected` and is not yielded. Raises `UserError`: a column is
    missing, or a quote is never closed (what follows would be lost).
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        # strict: a stray quote is an error of its row, not a field that swallows the next ones.
        reader = csv.reader(stream, strict=True)
        header = _header(path, reader, columns)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error) or "field larger" in str(error):
                    raise UserError(
                        f"{path}: the quote opened in the row of line {line} is never closed"
                        f" ({error}); close it, or double a quote that belongs to the text"
                    ) from None
                span = f" in lines {line} to {reader.line_num}" if reader.line_num > line else ""
                reason = f"misplaced quotes{span} ({error}); double quotes inside a text"
                rejected.add(path, line, "", reason)
                continue
            if not fields or fields == [""]:
                continue
            if problem := _problem(fields, len(header)):
                rejected.add(path, line, ",".join(fields), problem)
            else:
                yield line, {n: _cleaned(n, fields[header.index(n)]) for n in columns}


def _cleaned(column: str, field: str) -> str:
    return field.strip(" \t\r\n") if column == "image" else " ".join(field.split())


def _header(path: Path, reader: Iterator[list[str]], columns: list[str]) -> list[str]:
    """The names in the header line, which must include `columns`."""
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{path}, line 1: {error}") from None
    if any("\0" in name for name in header):
        raise UserError(f"{path}: is UTF-16, or no text; save it as UTF-8 (in Excel: CSV UTF-8)")
    missing = [name for name in columns if name not in header]
    if missing:
        # what was no UTF-8 cannot be shown
        held = ", ".join(header)[:200].encode("utf-8", "replace").decode()
        raise UserError(
            f"{path}: no column {', '.join(missing)} in its first line"
            f" ({held or 'empty'}); it must be a comma-separated header with"
            f" {', '.join(columns)}"
        )
    return header


def _problem(fields: list[str], expected: int) -> str:
    """What is wrong with a row's fields; empty when nothing is."""
    if len(fields) < expected:
        return f"{len(fields)} fields, expected {expected}"
    if any(fields[expected:]):
        return f"{len(fields)} fields, expected {expected}; quote a text with commas"
    if any("\udc80" <= letter <= "\udcff" for field in fields for letter in field):
        return "not UTF-8; save the file as UTF-8"
    return ""
