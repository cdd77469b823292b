"""The report's section of published results: what a benchmark's literature says beside this study.

The published are not measured here and are marked so; the study's ablation table stays its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from camground.report.ablation_table import ABSENT, percent
from camground.report.main_table import BOUND, heading
from camground.report.published import (
    METRICS,
    SPLITS,
    TABLE,
    TITLES,
    Method,
    benchmark,
    read_published,
)
from camground.report.results import Results
from camground.study import tables

NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Line:
    """A method's line. cells: mean and deviation ("" without) of each split, as text; `paper` and
    `sources` (address, label) are links; `here`: measured by this study."""

    name: str
    here: bool
    published: str
    title: str
    paper: str | None
    cells: list[tuple[str, str]]
    proposals: str
    detector: str
    pretraining: str
    supervision: str
    sources: list[tuple[str, str]]


@dataclass(frozen=True)
class Part:
    """A metric's table: this study's lines, then the published, best on the report's split first."""

    metric: str
    splits: list[str]
    lines: list[Line]


@dataclass(frozen=True)
class Published:
    """What the section shows of a study on `dataset`, a name of the table of published numbers."""

    results: Results
    dataset: str
    methods: tuple[Method, ...]

    @property
    def title(self) -> str:
        """The data set's name for readers."""
        return TITLES[self.dataset]

    def parts(self) -> list[Part]:
        """A table for each metric that somebody published."""
        made = []
        for metric in METRICS:
            methods = [method for method in self.methods if method.on(self.dataset, metric)]
            if methods:
                splits = self._splits(metric, methods)
                lines = [self._theirs(method, metric, splits) for method in methods]
                at = self._sorted_by(splits)
                lines.sort(key=lambda line: (-_number(line.cells[at][0]), line.name.lower()))
                made.append(Part(heading(metric), splits, self._ours(metric, splits) + lines))
        return made

    def notes(self) -> list[tuple[str, str]]:
        """What a reader must know of a method shown: name, note."""
        return [
            (method.name, method.note)
            for method in self.methods
            if method.note and any(method.on(self.dataset, metric) for metric in METRICS)
        ]

    def missing(self) -> list[tuple[str, str]]:
        """Methods of which no number could be read: name, why."""
        return [(method.name, method.missing) for method in self.methods if method.missing]

    def _splits(self, metric: str, methods: list[Method]) -> list[str]:
        reference = self.results.reference
        known = {
            s
            for m in methods
            for row in m.on(self.dataset, metric)
            for s in row.numbers[self.dataset]
        }
        own = self.results.over_all
        known |= {split for name, found, split in own if (name, found) == (reference, metric)}
        return [split for split in SPLITS[self.dataset] if split in known]

    def _sorted_by(self, splits: list[str]) -> int:
        """The column that orders the published: the report's split, else the first."""
        split = self.results.options["split"]
        return splits.index(split) if split in splits else 0

    def _ours(self, metric: str, splits: list[str]) -> list[Line]:
        """The reference variant and the baseline that is best on the sorting split, the bound left out."""
        split = splits[self._sorted_by(splits)]
        own = self.results.over_all
        means = {
            name: own[name, metric, split]["mean"]
            for name in self.results.baselines
            if name != BOUND and (name, metric, split) in own
        }
        names = [(self.results.reference, "this study")]
        if means:
            names.append((max(means, key=lambda name: means[name]), "this study, best baseline"))
        return [self._our_line(name, label, metric, splits) for name, label in names]

    def _our_line(self, name: str, label: str, metric: str, splits: list[str]) -> Line:
        cells = []
        for split in splits:
            row = self.results.over_all.get((name, metric, split))
            if row is None:
                cells.append((ABSENT, ""))
            else:
                deviation = "" if row["deviation"] is None else percent(row["deviation"])
                cells.append((percent(row["mean"]), deviation))
        path = self.results.root / "proposals" / "proposals.parquet"
        proposals = tables.read_arrow("proposals", path, ["source"])["source"].unique().to_pylist()
        return Line(
            name=name,
            here=True,
            published=label,
            title="",
            paper=None,
            cells=cells,
            proposals=", ".join(sorted(proposals)) or ABSENT,
            detector="see Config",
            pretraining="see Config",
            supervision="image-text pairs",
            sources=[],
        )

    def _theirs(self, method: Method, metric: str, splits: list[str]) -> Line:
        rows = method.on(self.dataset, metric)
        numbers = {
            split: value for row in rows for split, value in row.numbers[self.dataset].items()
        }
        cells = [(f"{numbers[split]:.2f}" if split in numbers else ABSENT, "") for split in splits]
        sources = [(row.source, row.quoted_in or "its authors") for row in rows]
        return Line(
            name=method.name,
            here=False,
            published=f"{method.venue} {method.year}",
            title=method.title,
            paper=method.paper,
            cells=cells,
            proposals=method.proposals or NOT_CHECKED,
            detector=method.detector or NOT_CHECKED,
            pretraining=method.pretraining or NOT_CHECKED,
            supervision=method.supervision,
            sources=sources,
        )


def _number(text: str) -> float:
    return -1.0 if text == ABSENT else float(text)


def content(results: Results, table: Path = TABLE) -> Published | None:
    """The section's content; None where the study is on no benchmark of the table."""
    dataset = benchmark(results.config.get("data") or {})
    return None if dataset is None else Published(results, dataset, read_published(table))


def section(results: Results, table: Path = TABLE) -> str:
    """The section as HTML, "" for a study that has none."""
    from jinja2 import Environment, StrictUndefined

    found = content(results, table)
    if found is None:
        return ""
    template = files("camground.report").joinpath("published.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(
        published=found,
        parts=found.parts(),
        split=results.options["split"],
        reference=results.reference,
        multiple_boxes=dict(results.config["evaluate"]).get("multiple_boxes", ABSENT),
    )
