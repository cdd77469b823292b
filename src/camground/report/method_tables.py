"""Tables of the methods that page and document share: by metric, by split, by group, word swaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from camground.evaluation.metric_table import METRICS, OF_SWAPS, PRIMARY
from camground.report.ablation_table import AblationTable, Cell
from camground.report.text_tables import markdown


@dataclass(frozen=True)
class Line:
    """A method's line; `kind` as in `AblationTable.kinds`, a rule divides kinds."""

    name: str
    kind: str
    cells: list[Cell]


@dataclass(frozen=True)
class MethodTable:
    """Methods below `columns`: headings, each with its number of expressions, or None where that is said
    elsewhere. `corner`: the first column's heading."""

    corner: str
    columns: list[tuple[str, int | None]]
    lines: list[Line]
    title: str = ""
    note: str = ""

    def to_markdown(self) -> str:
        """The same as a pipe table."""
        header = [name if n is None else f"{name} (n {n:,})" for name, n in self.columns]
        rows = [[line.name, *map(str, line.cells)] for line in self.lines]
        return markdown([self.corner, *header], rows)


def by_metric(table: AblationTable, metrics: Iterable[str]) -> MethodTable:
    """Every method's metrics on the report's split, the best of each column marked."""
    columns = {METRICS[metric].heading: table.column(metric) for metric in metrics}
    return _all_methods(table, "Method", [(heading, None) for heading in columns], columns.values())


def by_split(table: AblationTable) -> MethodTable | None:
    """Every method's primary metric on every evaluated split; None where one alone is evaluated."""
    if len(table.splits) < 2:
        return None
    # every expression has an IoU, which `ablation` checks; other metrics may be of fewer
    rows = [(split, table.row(table.reference, "iou", split=split)) for split in table.splits]
    counts = [(split, None if row is None else int(row["n"])) for split, row in rows]
    cells = [table.column(split=split) for split in table.splits]
    return _all_methods(table, METRICS[PRIMARY].heading, counts, cells)


def _all_methods(
    table: AblationTable, corner: str, columns: list[tuple[str, int | None]], cells: Iterable[dict[str, Cell]]
) -> MethodTable:
    listed = list(cells)
    lines = [Line(n, kind, [column[n] for column in listed]) for n, kind in table.kinds.items()]
    return MethodTable(corner, columns, lines)


def by_group(
    table: AblationTable, key: str, metric: str = PRIMARY, overall: bool = False
) -> MethodTable | None:
    """The methods that have a metric, by the groups of `key`, if `overall` after all expressions; None
    without groups."""
    groups = {f"{key}={value}": n for value, n in table.groups(key, metric).items()}
    if not groups:
        return None
    if overall:
        # the group of all expressions is the only one of key "all", without a value
        groups = {"all": table.groups("all", metric)[""], **groups}
    lines = [
        Line(name, kind, [table.cell(name, metric, group) for group in groups])
        for name, kind in table.kinds.items()
        if table.row(name, metric) is not None
    ]
    columns = [(group.removeprefix(f"{key}="), n) for group, n in groups.items()]
    return MethodTable("Method", [*columns], lines)


def word_swaps(table: AblationTable) -> list[MethodTable]:
    """A table for each metric of word swaps that was measured, by the class of the changed word."""
    tables = [(metric, by_group(table, "word_class", metric.name, overall=True)) for metric in OF_SWAPS]
    return [
        replace(table_by_class, title=metric.heading, note=metric.note)
        for metric, table_by_class in tables
        if table_by_class is not None
    ]
