"""What a benchmark's literature says beside this study: `published.yaml`, checked, and the page's section.

How to add a row is said at the head of that file. The published numbers are not measured here and are marked
so; the study's ablation table stays its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from camground.data.config import DataConfig
from camground.evaluation.metric_table import METRICS
from camground.report.ablation_table import AblationTable, Cell
from camground.study.errors import UserError
from camground.study.progress import log

TABLE = Path(__file__).with_name("published.yaml")


class Benchmark(NamedTuple):
    """A data set of the table: its name for readers, those of its splits that have numbers, in order, and
    REFER's folder and split_by. Nobody publishes weakly supervised numbers on other splits of REFER."""

    title: str
    splits: tuple[str, ...]
    refer: tuple[str, str] | None = None


BENCHMARKS = {
    "refcoco": Benchmark("RefCOCO", ("val", "testA", "testB"), ("refcoco", "unc")),
    "refcoco+": Benchmark("RefCOCO+", ("val", "testA", "testB"), ("refcoco+", "unc")),
    "refcocog-google": Benchmark("RefCOCOg, google split", ("val",), ("refcocog", "google")),
    "refcocog-umd": Benchmark("RefCOCOg, umd split", ("val", "test"), ("refcocog", "umd")),
    "referit": Benchmark("ReferItGame", ("val", "test"), ("refclef", "berkeley")),
    "flickr30k": Benchmark("Flickr30k Entities", ("val", "test")),
}

Address = Annotated[str, Field(pattern=r"^https?://\S+$")]
Text = Annotated[str, Field(min_length=1)]
PerCent = Annotated[float, Field(ge=0, le=100)]
MetricName = Literal["acc@0.5", "pointing"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Result(_Entry):
    """`numbers` read at `source`, in per cent, by data set and split. `quoted_in` None: its authors' own."""

    source: Address
    quoted_in: Text | None = None
    metric: MetricName = "acc@0.5"
    numbers: Annotated[dict[str, Annotated[dict[str, PerCent], Field(min_length=1)]], Field(min_length=1)]

    @field_validator("numbers")
    @classmethod
    def _of_known_splits(cls, numbers: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for dataset, by_split in numbers.items():
            if dataset not in BENCHMARKS:
                raise ValueError(f"data set {dataset!r} is none of {', '.join(BENCHMARKS)}")
            splits = BENCHMARKS[dataset].splits
            for split in by_split.keys() - splits:
                raise ValueError(f"{dataset} has the splits {', '.join(splits)}, not {split!r}")
        return numbers


class Method(_Entry):
    """A published method; the head of the table explains the keys. None: not stated where it was read."""

    name: Text
    title: Text
    venue: Text
    paper: Address | None = None
    proposals: Text | None = None
    detector: Text | None = None
    pretraining: Text | None = None
    supervision: Text
    note: Text | None = None
    missing: Text | None = None
    results: list[Result] = []

    @model_validator(mode="after")
    def _each_number_once(self) -> Method:
        if bool(self.results) == bool(self.missing):
            raise ValueError("give either results or, in key missing, why there is no number")
        counts = Counter(
            f"{result.metric} of {dataset} {split}"
            for result in self.results
            for dataset, numbers in result.numbers.items()
            for split in numbers
        )
        twice = [f"{number} {times} times" for number, times in counts.items() if times > 1]
        if twice:
            raise ValueError(f"results has {', '.join(twice)}")
        return self

    def on(self, dataset: str, metric: str) -> list[Result]:
        """The results that have numbers of a data set."""
        return [row for row in self.results if row.metric == metric and dataset in row.numbers]

    def by_split(self, dataset: str, metric: str) -> dict[str, float]:
        """Those numbers, in per cent."""
        return {s: value for row in self.on(dataset, metric) for s, value in row.numbers[dataset].items()}


class _Table(_Entry):
    methods: Annotated[list[Method], Field(min_length=1)]

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: list[Method]) -> list[Method]:
        for name, times in Counter(method.name for method in methods).items():
            if times > 1:
                raise ValueError(f"{name}: listed twice; put all results under one method")
        return methods


def benchmark(data: DataConfig) -> str | None:
    """The table's name of a study's data set; None where the table has no numbers of it."""
    if data.kind == "flickr30k":
        return "flickr30k"
    refer = (data.refer.dataset, data.refer.split_by) if data.kind == "refer" else ()
    return next((name for name, entry in BENCHMARKS.items() if entry.refer == refer), None)


def read_published(table: Path = TABLE) -> list[Method]:
    """The checked table; `UserError` names the file, the method, the result and the key."""
    try:
        content = yaml.safe_load(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{table}: not a readable table of published numbers: {error}") from None
    try:
        return _Table.model_validate(content).methods
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    steps = [f"row {step + 1}" if isinstance(step, int) else step for step in problem["loc"]]
    if len(steps) > 1 and isinstance(content["methods"][problem["loc"][1]], dict):
        steps[1] += f" ({content['methods'][problem['loc'][1]].get('name', 'without a name')})"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], str | int | float):
        message += f", not {problem['input']!r}"
    raise UserError(f"{table}: {' '.join(steps)}: {message}; the head of the file says what each key holds")


def check_published(table: Path = TABLE) -> None:
    """Check a table and log what it holds and lacks."""
    methods = read_published(table)
    for dataset in BENCHMARKS:
        for metric in get_args(MetricName):
            names = [method.name for method in methods if method.on(dataset, metric)]
            if names:
                log.info("%s, %s: %d: %s", dataset, metric, len(names), ", ".join(names))
    for method in methods:
        if method.missing:
            log.info("%s: no number: %s", method.name, method.missing)


class Line(NamedTuple):
    """A row, a cell per split; `method` and the `results` it was read in where it is published."""

    name: str
    label: str
    cells: list[Cell]
    method: Method | None = None
    results: Sequence[Result] = ()


class Part(NamedTuple):
    """A metric's table: this study's lines, then the published, best on the report's split first."""

    heading: str
    splits: list[str]
    lines: list[Line]


class Published(NamedTuple):
    """The section on `dataset`, one of `BENCHMARKS`. other: the study is on other photographs than those.
    notes: what a reader must know of the methods shown; missing: why others have no number; both by the
    method's name."""

    dataset: str
    title: str
    other: bool
    parts: list[Part]
    notes: dict[str, str]
    missing: dict[str, str]


def published(table: AblationTable, data: DataConfig) -> Published | None:
    """The section's content; None where the study is on nothing that a benchmark of the table is like.

    A folder of photographs has captions and phrases as Flickr30k Entities has, so it is shown beside that, as
    other data.
    """
    other = data.kind == "folder"
    dataset = "flickr30k" if other else benchmark(data)
    if dataset is None:
        return None
    methods = read_published()
    parts = [_part(table, dataset, methods, metric, other) for metric in get_args(MetricName)]
    parts = [part for part in parts if any(line.method for line in part.lines)]
    shown = {line.name for part in parts for line in part.lines if line.method}
    notes = {method.name: method.note for method in methods if method.note and method.name in shown}
    missing = {method.name: method.missing for method in methods if method.missing}
    return Published(dataset, BENCHMARKS[dataset].title, other, parts, notes, missing)


def _part(table: AblationTable, dataset: str, methods: list[Method], metric: str, other: bool) -> Part:
    numbers = {method.name: method.by_split(dataset, metric) for method in methods}
    reported = {split for by_split in numbers.values() for split in by_split}
    reported |= {split for split in table.splits if table.row(table.reference, metric, split=split)}
    splits = [split for split in BENCHMARKS[dataset].splits if split in reported]
    main = table.split if table.split in splits else splits[0]
    ours = f"this study, other data: {table.dataset}" if other else "this study"
    own = {table.reference: ours}
    own |= dict.fromkeys(table.ranked(table.baselines, metric, main)[:1], f"{ours}, best baseline")
    lines = [
        Line(name, label, [table.cell(name, metric, split=split) for split in splits])
        for name, label in own.items()
    ]
    for method in sorted(methods, key=lambda m: (-numbers[m.name].get(main, -1.0), m.name.lower())):
        if by_split := numbers[method.name]:
            cells = [Cell(f"{by_split[split]:.2f}") if split in by_split else Cell() for split in splits]
            lines.append(Line(method.name, method.venue, cells, method, method.on(dataset, metric)))
    return Part(METRICS[metric].heading, splits, lines)
