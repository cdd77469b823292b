"""The ablation table, asked by names: its numbers as text, the best of a column, the verdicts.

The oracle is never the best: it knows the true box, so it is the bound that the proposals set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, floor, log10
from typing import Any

import pandas as pd

from camground.evaluation import statistics
from camground.evaluation.config import StudyMethods
from camground.evaluation.metric_table import PRIMARY
from camground.study.schemas import present

BOUND = "oracle"
ABSENT = "–"
WORSE, BETTER, NULL = "worse", "better", "no difference shown"


@dataclass(frozen=True)
class Cell:
    """A mean in per cent, its deviation over seeds ("" with one seed), whether it is its column's best."""

    mean: str = ABSENT
    deviation: str = ""
    best: bool = False

    def __str__(self) -> str:
        return f"{self.mean} ± {self.deviation}" if self.deviation else self.mean


@dataclass(frozen=True)
class Difference:
    """A method minus the reference, in points, with its 95 % interval, which is not adjusted, and p by Holm.

    `verdict`: "reference"; WORSE, BETTER or NULL by that p alone; "" where the difference is not tested."""

    points: str = ABSENT
    interval: str = ""
    p: str = ABSENT
    verdict: str = ""

    def __str__(self) -> str:
        return f"{self.points} {self.interval}" if self.interval else self.points


@dataclass(frozen=True)
class AblationTable:
    """A study's `ablation` table, asked by names.

    images: number of evaluated images by split; methods: rows of somebody else's boxes. A method's numbers
    default to those over `split` and all of its expressions.
    """

    table: pd.DataFrame
    dataset: str
    variants: list[str]
    baselines: list[str]
    seeds: list[int]
    reference: str
    split: str
    images: Mapping[str, int] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, table: pd.DataFrame, study: StudyMethods, images: Mapping[str, int] | None = None
    ) -> AblationTable:
        """A table with the names of a study's config."""
        lists = list(study.variants), list(study.baselines), list(study.seeds)
        config = study.ablation
        names = *lists, config.reference, config.split
        return cls(table, study.dataset, *names, images or {}, list(study.methods))

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str, str], dict[str, Any]]:
        rows: list[Any] = self.table.astype(object).where(self.table.notna(), None).to_dict(orient="records")
        return {(row["variant"], row["metric"], row["group"], row["split"]): row for row in rows}

    def row(
        self, method: str, metric: str = PRIMARY, group: str = "all", split: str | None = None
    ) -> dict[str, Any] | None:
        """The table's row, None where it has none; None for null values."""
        return self._rows.get((method, metric, group, split or self.split))

    def mean(
        self, method: str, metric: str = PRIMARY, group: str = "all", split: str | None = None
    ) -> float | None:
        """The mean over seeds, a share; None where the table has none."""
        row = self.row(method, metric, group, split)
        return None if row is None else float(row["mean"])

    def cell(self, method: str, metric: str = PRIMARY, group: str = "all", split: str | None = None) -> Cell:
        """The mean and its deviation as text."""
        row = self.row(method, metric, group, split)
        if row is None:
            return Cell()
        deviation = row["deviation"]
        return Cell(percent(row["mean"]), "" if deviation is None else percent(deviation))

    @property
    def kinds(self) -> dict[str, str]:
        """Every method's kind, in the tables' order: variants, others' boxes, baselines, the bound."""
        baselines = sorted(self.baselines, key=lambda name: name == BOUND)
        kinds = {name: "bound" if name == BOUND else "baseline" for name in baselines}
        return dict.fromkeys(self.variants, "variant") | dict.fromkeys(self.methods, "method") | kinds

    def ranked(self, methods: Iterable[str], metric: str = PRIMARY, split: str | None = None) -> list[str]:
        """Those of `methods` that have the metric, the highest mean first, the bound left out."""
        means = {name: self.mean(name, metric, split=split) for name in methods if name != BOUND}
        measured = {name: mean for name, mean in means.items() if mean is not None}
        return sorted(measured, key=lambda name: -measured[name])

    def column(self, metric: str = PRIMARY, split: str | None = None) -> dict[str, Cell]:
        """Every method's cell. The highest mean is the best, ties included, but never a mean of 0."""
        means = {name: self.mean(name, metric, split=split) for name in self.kinds}
        top = max((mean or 0.0 for name, mean in means.items() if name != BOUND), default=0)
        return {
            name: replace(self.cell(name, metric, split=split), best=name != BOUND and mean == top > 0)
            for name, mean in means.items()
        }

    def groups(self, key: str, metric: str = PRIMARY) -> dict[str, int]:
        """The values of a grouping that occur and their number of expressions, small before large, 2 before
        10."""
        counts: dict[str, int] = {}
        for (_, of_metric, group, split), row in self._rows.items():
            if (of_metric, split, group.partition("=")[0]) == (metric, self.split, key):
                counts.setdefault(group.partition("=")[2], int(row["n"]))
        return {value: counts[value] for value in in_order(counts)}

    @property
    def splits(self) -> list[str]:
        """The evaluated splits, in the order of `schemas.SPLITS`."""
        return present(split for name, metric, _, split in self._rows if metric == PRIMARY)

    def difference(self, method: str, split: str | None = None) -> Difference:
        """From the reference in the primary metric, with its 95 % interval and its adjusted p."""
        if method == self.reference:
            return Difference("reference", p="", verdict="reference")
        row = self.row(method, split=split)
        if row is None or row["difference"] is None:
            return Difference()
        points, interval = percent(row["difference"], sign=True), ""
        if row["low"] is not None and row["high"] is not None:
            interval = f"[{percent(row['low'], sign=True)}, {percent(row['high'], sign=True)}]"
        p = row["p_holm"]
        if p is None:
            return Difference(points, interval)
        side = WORSE if row["difference"] < 0 else BETTER
        return Difference(points, interval, p_text(p, self._floor), side if p < statistics.LEVEL else NULL)

    @cached_property
    def tests(self) -> int:
        """How many differences the study tests, which p is adjusted for."""
        return int(self.table["p_holm"].notna().sum())

    @property
    def _floor(self) -> float:
        """The smallest adjusted p that the resamples can show."""
        return self.tests * statistics.floor(self.resamples)

    @cached_property
    def resamples(self) -> int:
        """How many resamples intervals and p are from."""
        return int(self.table["resamples"].fillna(0).max() or 0)

    @property
    def statistics_note(self) -> str:
        """What the differences, intervals, p and verdicts are."""
        seeds = len(self.seeds)
        sources = ["the variants"] if self.variants else []
        sources += ["other methods' boxes"] if self.methods else []
        tested = " and of ".join([", of ".join(sources), "the baselines that use the matcher's map"])
        drawn = (
            f"images and of the {seeds} seeds together, seed k of one method paired with seed k of another."
            f" A bootstrap of {seeds} seeds has {seeds - 1}/{seeds} of their variance, so deviations are"
            f" scaled by √({seeds}/{seeds - 1}); where seeds differ more than images do, it still understates"
            " what few seeds leave open."
            if seeds > 1
            else "images; with one seed nothing covers the choice of seed."
        )
        return (
            f"Differences are in points, method minus {self.reference}, with the 95 % percentile interval of"
            f" a paired bootstrap: {self.resamples:,} resamples of {drawn} The study's {self.tests} tests are"
            f" of {tested}; floors and the oracle are not tested. p is two-sided, from the resamples,"
            " adjusted by Holm for these tests; where they show only that it is small, it is given as “<”."
            f" Verdicts follow the adjusted p at {statistics.LEVEL}; intervals are not adjusted."
        )

    def verdicts(self, methods: Collection[str]) -> list[str]:
        """Which of `methods` the tests tell apart from the reference, and which they do not."""
        reference, level = self.reference, statistics.LEVEL
        texts = {
            WORSE: f"Worse than {reference} (p < {level} by Holm)",
            BETTER: f"Better than {reference} (p < {level} by Holm)",
            NULL: f"No difference from {reference} shown (p ≥ {level} by Holm: a null result)",
        }
        sides = {side: [n for n in methods if self.difference(n).verdict == side] for side in texts}
        return [f"{texts[side]}: {', '.join(names)}." for side, names in sides.items() if names]


def percent(value: float, sign: bool = False) -> str:
    """A share as percentage with one decimal; a true minus, a sign for differences.

    A difference that rounds to 0 keeps its sign, so that the end of an interval shows its side of 0.
    """
    text = f"{100 * value + 0.0:+.1f}" if sign else f"{round(100 * value, 1) + 0.0:.1f}"
    return text.replace("-", "−")


def p_text(p: float, smallest: float = 0.0) -> str:
    """p with three decimals; at the `smallest` that can be shown, "<" that, rounded up."""
    if p <= smallest * (1 + 1e-9):
        unit = 10.0 ** (floor(log10(smallest)) - 1)
        return f"< {ceil(smallest / unit) * unit:.2g}"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def in_order(values: Iterable[str]) -> list[str]:
    """Values of a grouping in a reader's order: small before large, 2 before 10."""
    sizes = {"small": 0.0, "medium": 1.0, "large": 2.0}

    def rank(value: str) -> tuple[float, str]:
        numbers = "".join(c if c.isdigit() else " " for c in value).split()
        return sizes.get(value, float(numbers[0]) if numbers else 0.0), value

    return sorted(values, key=rank)
