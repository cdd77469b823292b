"""Reading CSV files row by row with the line each row starts on, so that errors can point at it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from camground.data.readers.rejected import Rejected
from camground.study.errors import UserError


@dataclass(frozen=True)
class CsvRow:
    """One row: `values` by column name, whitespace normalised; the header is `line` 1."""

    line: int
    values: dict[str, str]


def _header(path: Path, reader: Iterator[list[str]], columns: list[str]) -> list[str]:
    """The names in the header line, which must include `columns`."""
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"{path}, line 1: {error}") from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)} in its first line"
            f" ({', '.join(header) or 'empty'}); it must be a comma-separated header with"
            f" {', '.join(columns)}"
        )
    return header


def read(path: Path, columns: list[str], rejected: Rejected) -> Iterator[CsvRow]:
    """Rows of the UTF-8 CSV file `path`, restricted to `columns`; blank lines are skipped.

    A row with a missing or surplus field, misplaced quotes or bytes that are not UTF-8 goes to
    `rejected` and is not yielded.

    Raises:
        UserError: a column is missing, or a quote is never closed (what follows would be lost).
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        # strict: a stray quote is an error of its row, not a field that swallows the next ones.
        reader = csv.reader(stream, strict=True)
        header = _header(path, reader, columns)
        positions = [header.index(name) for name in columns]
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
                last = reader.line_num
                span = f" in lines {line} to {last}" if last > line else ""
                rejected.add(
                    path, line, "", f"misplaced quotes{span} ({error}); double quotes inside a text"
                )
                continue
            if not fields or fields == [""]:
                continue
            value = ",".join(fields)
            if len(fields) < len(header):
                rejected.add(path, line, value, f"{len(fields)} fields, expected {len(header)}")
            elif any(fields[len(header) :]):
                reason = f"{len(fields)} fields, expected {len(header)}; quote a text with commas"
                rejected.add(path, line, value, reason)
            elif any("\udc80" <= letter <= "\udcff" for letter in value):
                rejected.add(path, line, value, "not UTF-8; save the file as UTF-8")
            else:
                values = [" ".join(fields[position].split()) for position in positions]
                yield CsvRow(line, dict(zip(columns, values, strict=True)))
