"""Input rows that were refused: collected, written as a table; too many of them stop the run."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log

SHOWN = 5


@dataclass(frozen=True)
class RejectedRow:
    """A refused row. `row` is the line of `file` it starts on, the header being line 1; 0 means the
    whole file."""

    file: str
    row: int
    value: str
    reason: str

    def __str__(self) -> str:
        kind = "entry" if self.file.endswith(".json") else "line"
        where = f"{self.file}, {kind} {self.row}" if self.row else self.file
        return (
            f"{where}: {self.reason} ({self.value!r})" if self.value else f"{where}: {self.reason}"
        )


@dataclass
class Rejected:
    """The refused rows of one dataset, in the order they were found."""

    rows: list[RejectedRow] = field(default_factory=list)

    def add(self, file: str | Path, row: int, value: str, reason: str) -> None:
        # A lone surrogate (a byte that was no UTF-8) cannot be stored.
        readable = value.encode("utf-8", "replace").decode("utf-8")
        self.rows.append(RejectedRow(str(file), row, readable, reason))

    def settle(
        self, total: int, max_share: float, path: Path, key: str = "data.max_rejected_share"
    ) -> None:
        """Write the table `rejected` to `path`; stop the run above `max_share` of refused rows.

        Before stopping, the rows also go to a CSV file beside `path`: a workflow deletes the
        outputs of a failed job, and the list of what to mend must outlive it.

        Args:
            total: rows that were read, refused ones included.
            max_share: 0 to 1, the config's `key`.

        Raises:
            UserError: the share is above `max_share`.
        """
        tables.write("rejected", [vars(row) for row in self.rows], path)
        listing = path.with_suffix(".csv")
        listing.unlink(missing_ok=True)
        if not self.rows:
            return
        share = len(self.rows) / max(total, 1)
        first = "\n".join(f"  {row}" for row in self.rows[:SHOWN])
        more = len(self.rows) - SHOWN
        if more > 0:
            first += f"\n  and {more} more"
        if share <= max_share:
            log.warning(
                "%d of %d rows rejected (%.2f %%), listed in %s:\n%s",
                len(self.rows),
                total,
                100 * share,
                path,
                first,
            )
            return
        with tables.atomic(listing) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", "row", "value", "reason"])
            writer.writerows([row.file, row.row, row.value, row.reason] for row in self.rows)
        raise UserError(
            f"{len(self.rows)} of {total} rows were rejected, {share:.2%}, and"
            f" {key} allows {max_share:.2%}; all are listed in {listing}:\n"
            f"{first}\nMend these rows, or raise {key} to leave them out."
        )
