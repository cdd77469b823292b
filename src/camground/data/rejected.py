"""Input rows that were refused: collected, written as a table; too many of them stop the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log

SHOWN = 5
MENDED = (
    "Once they are mended, run the same command with --forcerun data: a photograph put in its place is not"
    " noticed by itself."
)


@dataclass(frozen=True)
class RejectedRow:
    """A refused row. `row` is the line of a text `file` on which it starts, the header being line 1, or the
    number, from 1, of the entry of a JSON file or pickle; 0 means the whole file."""

    file: str
    row: int
    value: str
    reason: str

    def __str__(self) -> str:
        unit = "entry" if self.file.endswith((".json", ".p")) else "line"
        position = f"{self.file}, {unit} {self.row}" if self.row else self.file
        return f"{position}: {self.reason}" + (f" ({self.value!r})" if self.value else "")


@dataclass
class Rejected:
    """The refused rows of one data set, in the order in which they were met."""

    rows: list[RejectedRow] = field(default_factory=list)

    def add(self, file: str | Path, row: int, value: str, reason: str | Exception) -> None:
        # A lone surrogate (a byte that was no UTF-8) cannot be stored.
        readable = value.encode("utf-8", "replace").decode("utf-8")
        self.rows.append(RejectedRow(str(file), row, readable, str(reason)))

    def settle(self, total: int, max_share: float, path: Path, key: str = "data.max_rejected_share") -> None:
        """Write the table `rejected` to `path`; `UserError` where more than `max_share` (0 to 1, the config's
        `key`) of the `total` rows that were read, refused ones included, were refused. Where the run goes on,
        the log says how mended rows are taken in.

        Before stopping, the rows also go to a CSV file beside `path`: a workflow deletes the
        outputs of a failed job, and the list of what to mend must outlive it.
        """
        rows = [vars(row) for row in self.rows]
        tables.write("rejected", rows, path)
        listing = path.with_suffix(".csv")
        listing.unlink(missing_ok=True)
        if not rows:
            return
        share = len(rows) / max(total, 1)
        more = [f"and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
        excerpt = "\n".join(f"  {row}" for row in [*self.rows[:SHOWN], *more])
        summary = f"{len(rows)} of {total} rows were rejected, {share:.2%}"
        if share <= max_share:
            log.warning("%s; all are listed in %s:\n%s\n%s", summary, path, excerpt, MENDED)
            return
        with tables.atomic(listing) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False)
        raise UserError(
            f"{summary}, and {key} allows {max_share:.2%}; all are listed in {listing}:\n"
            f"{excerpt}\nMend these rows, or raise {key} to leave them out."
        )
