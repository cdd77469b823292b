"""The ablation table as cells of the page: means with deviations, the difference with its
interval."""

from __future__ import annotations

from dataclasses import dataclass

from camground.report.ablation_table import ABSENT, p_text, percent
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


def methods(results: Results) -> dict[str, str]:
    """Every method's kind (variant, baseline, bound) in the table's order: variants first, then
    baselines, the bound last."""
    baselines = sorted(results.baselines, key=lambda name: name == BOUND)
    kinds = {name: "bound" if name == BOUND else "baseline" for name in baselines}
    return dict.fromkeys(results.variants, "variant") | kinds


def best_of(results: Results, metric: str, split: str | None = None) -> str | None:
    """The method, the bound left out, with the highest mean on a split (default: the report's);
    None without one."""
    split = split or results.options["split"]
    rows = {name: results.over_all.get((name, metric, split)) for name in methods(results)}
    known = {name: row["mean"] for name, row in rows.items() if row is not None and name != BOUND}
    return max(known, key=lambda name: known[name]) if known else None


def column(results: Results, metric: str, split: str) -> dict[str, Cell]:
    """Every method's mean of a metric over all expressions of a split. The highest is the best, ties
    included; nobody is in a column of 0, nor is the bound in any."""
    best = best_of(results, metric, split)
    top = 0.0 if best is None else results.over_all[best, metric, split]["mean"]
    cells = {}
    for name in methods(results):
        row = results.over_all.get((name, metric, split))
        if row is None:
            cells[name] = Cell(ABSENT, "", False)
            continue
        deviation = "" if row["deviation"] is None else percent(row["deviation"])
        is_best = name != BOUND and bool(top) and row["mean"] == top
        cells[name] = Cell(percent(row["mean"]), deviation, is_best)
    return cells


def rows(results: Results) -> list[Row]:
    """The methods, each with the columns of report.metrics on the report's split."""
    options = results.options
    columns = [column(results, metric, options["split"]) for metric in options["metrics"]]
    return [
        _with_difference(results, name, kind, [cells[name] for cells in columns])
        for name, kind in methods(results).items()
    ]


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
