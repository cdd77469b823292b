"""The report's section of published results: what a benchmark's literature says beside this study.

The published are not measured here and are marked so; the study's ablation table stays its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from camground.data.config import DataConfig
from camground.evaluation.metric_table import METRICS
from camground.report.ablation_table import AblationTable, Cell
from camground.report.published import (
    BENCHMARKS,
    TABLE,
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
    """The section of a study on `dataset`, a name of the table of published numbers. notes: what a reader
    must know of the methods shown; missing: why others have no number; both by the method's name."""

    dataset: str
    title: str
    parts: list[Part]
    notes: dict[str, str]
    missing: dict[str, str]


def published(table: AblationTable, data: DataConfig, file: Path = TABLE) -> Published | None:
    """The section's content; None where the study is on no benchmark of the table."""
    dataset = benchmark(data)
    if dataset is None:
        return None
    methods = read_published(file)
    parts = [_part(table, dataset, methods, metric) for metric in get_args(MetricName)]
    parts = [part for part in parts if any(line.method for line in part.lines)]
    shown = {line.name for part in parts for line in part.lines if line.method}
    notes = {method.name: method.note for method in methods if method.note and method.name in shown}
    missing = {method.name: method.missing for method in methods if method.missing}
    return Published(dataset, BENCHMARKS[dataset].title, parts, notes, missing)


def _part(table: AblationTable, dataset: str, methods: list[Method], metric: str) -> Part:
    numbers = {
        method.name: {
            split: value
            for result in method.on(dataset, metric)
            for split, value in result.numbers[dataset].items()
        }
        for method in methods
    }
    reported = {split for by_split in numbers.values() for split in by_split}
    reported |= {split for split in table.splits if table.row(table.reference, metric, split=split)}
    splits = [split for split in BENCHMARKS[dataset].splits if split in reported]
    main = table.split if table.split in splits else splits[0]
    own = {table.reference: "this study"}
    own |= dict.fromkeys(table.ranked(table.baselines, metric, main)[:1], "this study, best baseline")
    lines = [
        Line(name, label, [table.cell(name, metric, split=split) for split in splits])
        for name, label in own.items()
    ]
    with_numbers = [method for method in methods if numbers[method.name]]
    with_numbers.sort(key=lambda m: (-numbers[m.name].get(main, -1.0), m.name.lower()))
    for method in with_numbers:
        by_split = numbers[method.name]
        cells = [Cell(f"{by_split[split]:.2f}") if split in by_split else Cell() for split in splits]
        results = tuple(method.on(dataset, metric))
        lines.append(Line(method.name, method.venue, cells, method, results))
    return Part(METRICS[metric].heading, splits, lines)
