"""Every evaluated split side by side: each method's `report.metric`, a column a split.

The rest of the page is of one split, `report.split`; RefCOCO, for one, has val, testA and testB.
"""

from __future__ import annotations

from dataclasses import dataclass

from camground.report.main_table import Cell, column, heading, methods
from camground.report.results import Results
from camground.report.text_tables import markdown
from camground.study.schemas import present

# Every expression of every method has it, which `ablation` checks; others may be of fewer.
COUNTED = "iou"


@dataclass(frozen=True)
class Line:
    """A method's line. kind: variant, baseline or bound; cells: one a split."""

    name: str
    kind: str
    cells: list[Cell]


@dataclass(frozen=True)
class SplitTable:
    """metric: its heading; splits: name and number of expressions, in the order of `schemas.SPLITS`;
    lines: the methods in the main table's order."""

    metric: str
    splits: list[tuple[str, int]]
    lines: list[Line]


def split_table(results: Results) -> SplitTable | None:
    """The table; None where one split alone is evaluated."""
    reference, metric = results.reference, results.options["metric"]
    rows = results.over_all
    splits = present(split for *found, split in rows if found == [reference, metric])
    if len(splits) < 2:
        return None
    columns = [column(results, metric, split) for split in splits]
    lines = [
        Line(name, kind, [cells[name] for cells in columns])
        for name, kind in methods(results).items()
    ]
    counts = [(split, int(rows[reference, COUNTED, split]["n"])) for split in splits]
    return SplitTable(heading(metric), counts, lines)


def section(results: Results) -> str:
    """The same as a section of a Markdown document, "" without a table."""
    table = split_table(results)
    if table is None:
        return ""
    header = ["Method", *(f"{split} (n {n:,})" for split, n in table.splits)]
    rows = [[line.name, *(_text(cell) for cell in line.cells)] for line in table.lines]
    return (
        f"\n## {table.metric} on every evaluated split\n\nPer cent, mean ± sample deviation over"
        " seeds; n: expressions.\n\n" + markdown(header, rows)
    )


def _text(cell: Cell) -> str:
    return f"{cell.mean} ± {cell.deviation}" if cell.deviation else cell.mean
