"""The report's section of published results: what a benchmark's literature says beside this study.

The published are not measured here and are marked so; the study's ablation table stays its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from camground.data.config import DataConfig
from camground.evaluation.metric_table import METRICS
from camground.report.ablation_table import AblationTable, Cell
from camground.report.published import (
    SPLITS,
    TABLE,
    TITLES,
    Method,
    MetricName,
    Result,
    benchmark,
    read_published,
)


@dataclass(frozen=True)
class Line:
    """A method's line, a cell per split; `method` and its results where it is published, else None."""

    name: str
    label: str
    cells: list[Cell]
    method: Method | None = None
    results: tuple[Result, ...] = ()


@dataclass(frozen=True)
class Part:
    """A metric's table: this study's lines, then the published, best on the report's split first."""

    heading: str
    splits: list[str]
    lines: list[Line]


@dataclass(frozen=True)
class Published:
    """What the section shows of a study on `dataset`, a name of the table of published numbers."""

    table: AblationTable
    dataset: str
    methods: list[Method]

    @property
    def title(self) -> str:
        """The data set's name for readers."""
        return TITLES[self.dataset]

    @cached_property
    def parts(self) -> list[Part]:
        """A table for each metric that somebody published."""
        return [
            self._part(metric)
            for metric in get_args(MetricName)
            if any(method.on(self.dataset, metric) for method in self.methods)
        ]

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What a reader must know of the methods shown: name, note."""
        shown = {line.name for part in self.parts for line in part.lines if line.method}
        return [(m.name, m.note) for m in self.methods if m.note and m.name in shown]

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Methods of which no number could be read: name, why."""
        return [(method.name, method.missing) for method in self.methods if method.missing]

    def _part(self, metric: str) -> Part:
        table, numbers = self.table, {m.name: self._numbers(m, metric) for m in self.methods}
        known = {split for by_split in numbers.values() for split in by_split}
        known |= {s for s in table.splits if table.row(table.reference, metric, split=s)}
        splits = [split for split in SPLITS[self.dataset] if split in known]
        main = table.split if table.split in splits else splits[0]
        published = [method for method in self.methods if numbers[method.name]]
        published.sort(key=lambda m: (-numbers[m.name].get(main, -1.0), m.name.lower()))
        own = [(table.reference, "this study")]
        strongest = table.ranked(table.baselines, metric, main)[:1]
        own += [(name, "this study, best baseline") for name in strongest]
        lines = [
            Line(name, label, [table.cell(name, metric, split=split) for split in splits])
            for name, label in own
        ]
        for method in published:
            found = numbers[method.name]
            cells = [Cell(f"{found[split]:.2f}") if split in found else Cell() for split in splits]
            results = tuple(method.on(self.dataset, metric))
            lines.append(Line(method.name, method.venue, cells, method, results))
        return Part(METRICS[metric].heading, splits, lines)

    def _numbers(self, method: Method, metric: str) -> dict[str, float]:
        """A method's per cent by split."""
        rows = method.on(self.dataset, metric)
        return {split: value for row in rows for split, value in row.numbers[self.dataset].items()}


def published(table: AblationTable, data: DataConfig, file: Path = TABLE) -> Published | None:
    """The section's content; None where the study is on no benchmark of the table."""
    dataset = benchmark(data)
    return None if dataset is None else Published(table, dataset, read_published(file))
