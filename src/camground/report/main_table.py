"""The ablation table as cells of the page: means with deviations, the difference with its
interval."""

from __future__ import annotations

from dataclasses import dataclass

from camground.ablation_report import ABSENT, p_text, percent
from camground.report.results import Results

# Not methods to compare with: it knows the true box.
BOUND = "oracle"

HEADINGS = {
    "acc@0.25": "Acc@0.25",
    "acc@0.5": "Acc@0.5",
    "acc@0.75": "Acc@0.75",
    "iou": "Mean IoU",
    "pointing": "Pointing",
    "right_object": "Right object",
    "right_extent": "Right extent",
    "recall@0.5": "Proposal recall@0.5",
}


@dataclass(frozen=True)
class Cell:
    """A mean in per cent, its deviation ("" with one seed), whether it is its column's best."""

    mean: str
    deviation: str
    best: bool


@dataclass(frozen=True)
class Row:
    """A method's line. `verdict`: below, above, null (interval contains 0), reference, ""
    unknown."""

    name: str
    kind: str
    cells: list[Cell]
    difference: str
    interval: str
    p: str
    verdict: str


def heading(metric: str) -> str:
    """A metric's name for readers."""
    return HEADINGS.get(metric, metric.replace("_", " ").replace("cam ", "CAM "))


def verdict(low: float | None, high: float | None) -> str:
    """What a difference's interval says about its sign."""
    if low is None or high is None:
        return ""
    return "below" if high < 0 else "above" if low > 0 else "null"


def best_of(results: Results, metric: str) -> str | None:
    """The method, the bound left out, with the highest mean; None without one."""
    means = {
        name: results.mean(name, metric)
        for name in (*results.variants, *results.baselines)
        if name != BOUND
    }
    known = {name: mean for name, mean in means.items() if mean is not None}
    return max(known, key=lambda name: known[name]) if known else None


def rows(results: Results) -> list[Row]:
    """Variants first, then baselines, the bound last, each with the columns of report.metrics."""
    metrics = list(results.options["metrics"])
    best = {metric: best_of(results, metric) for metric in metrics}
    baselines = sorted(results.baselines, key=lambda name: name == BOUND)
    made = []
    for name in (*results.variants, *baselines):
        cells = []
        for metric in metrics:
            row = results.ablation.get((name, metric, "all"))
            if row is None:
                cells.append(Cell(ABSENT, "", False))
                continue
            deviation = "" if row["deviation"] is None else percent(row["deviation"])
            cells.append(
                Cell(percent(row["mean"]), deviation, _is_best(results, name, metric, best))
            )
        kind = "variant" if name in results.variants else "bound" if name == BOUND else "baseline"
        made.append(_with_difference(results, name, kind, cells))
    return made


def _is_best(results: Results, name: str, metric: str, best: dict[str, str | None]) -> bool:
    """Whether a method has its column's highest mean, ties included; nobody has in a column of 0."""
    top = best[metric]
    value = results.mean(name, metric)
    return name != BOUND and top is not None and bool(value) and value == results.mean(top, metric)


def _with_difference(results: Results, name: str, kind: str, cells: list[Cell]) -> Row:
    row = results.ablation.get((name, results.options["metric"], "all"))
    if name == results.reference:
        return Row(name, kind, cells, "reference", "", "", "reference")
    if row is None or row["difference"] is None:
        return Row(name, kind, cells, ABSENT, "", ABSENT, "")
    interval = ""
    if row["low"] is not None and row["high"] is not None:
        interval = f"[{percent(row['low'], sign=True)}, {percent(row['high'], sign=True)}]"
    p = row["p_holm"] if row["p_holm"] is not None else row["p"]
    said = verdict(row["low"], row["high"])
    return Row(name, kind, cells, percent(row["difference"], sign=True), interval, p_text(p), said)


def verdict_sentences(results: Results) -> list[str]:
    """Which variants the interval tells apart from the reference; null results are named as
    such."""
    parts: dict[str, list[str]] = {"below": [], "above": [], "null": []}
    for row in rows(results):
        if row.kind == "variant" and row.verdict in parts:
            parts[row.verdict].append(row.name)
    texts = {
        "below": f"Worse than {results.reference}, the interval excludes 0",
        "above": f"Better than {results.reference}, the interval excludes 0",
        "null": f"Not told apart from {results.reference}, the interval contains 0 (a null result)",
    }
    return [f"{texts[side]}: {', '.join(names)}." for side, names in parts.items() if names]
