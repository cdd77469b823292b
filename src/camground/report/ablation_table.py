"""The ablation table for readers: Markdown with groups and verdicts, LaTeX with the main table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from camground.report.text_tables import latex, markdown

# Metric, heading; all as percentages.
MAIN = (
    ("acc@0.25", "Acc@0.25"),
    ("acc@0.75", "Acc@0.75"),
    ("iou", "Mean IoU"),
    ("pointing", "Pointing"),
    ("right_object", "Right object"),
    ("right_extent", "Right extent"),
    ("cam_coverage", "CAM coverage"),
    ("cam_iou", "CAM IoU"),
    ("cam_energy", "CAM energy"),
)
ABSENT = "–"


@dataclass(frozen=True)
class AblationTable:
    """An `ablation` table and what a reader must know about it. images: number by split."""

    dataset: str
    table: pd.DataFrame
    baselines: list[str]
    variants: list[str]
    seeds: list[int]
    reference: str
    split: str
    resamples: int
    images: dict[str, int]

    def cell(
        self, variant: str, metric: str, group: str = "all", split: str | None = None
    ) -> dict[str, Any] | None:
        """The table's row, or None."""
        return self._cells.get((variant, metric, group, split or self.split))

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str, str], dict[str, Any]]:
        rows = self.table.to_dict(orient="records")
        return {
            (row["variant"], row["metric"], row["group"], row["split"]): {
                str(key): value for key, value in row.items()
            }
            for row in rows
        }


def percent(value: float, sign: bool = False) -> str:
    """A share as percentage with one decimal; a true minus, a sign for differences.

    A difference that rounds to 0 keeps its sign, so that the end of an interval shows its side of 0.
    """
    text = f"{100 * value + 0.0:+.1f}" if sign else f"{round(100 * value, 1) + 0.0:.1f}"
    return text.replace("-", "−")


def mean_text(row: dict[str, Any] | None) -> str:
    """Mean, with ± the deviation over seeds where there are several."""
    if row is None:
        return ABSENT
    text = percent(row["mean"])
    return text if pd.isna(row["deviation"]) else f"{text} ± {percent(row['deviation'])}"


def difference_text(row: dict[str, Any] | None) -> str:
    """Difference from the reference with its interval."""
    if row is None or pd.isna(row["low"]):
        return ABSENT
    low, high = percent(row["low"], sign=True), percent(row["high"], sign=True)
    return f"{percent(row['difference'], sign=True)} [{low}, {high}]"


def p_text(p: float | None) -> str:
    """p with three decimals."""
    if p is None or pd.isna(p):
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def main_rows(study: AblationTable, names: Sequence[str], split: str) -> list[list[str]]:
    """The main table's rows for methods `names`."""
    rows = []
    for name in names:
        first = study.cell(name, "acc@0.5", split=split)
        tested = [p_text(first["p_holm"] if first else None)] if split == study.split else []
        others = [mean_text(study.cell(name, metric, split=split)) for metric, _ in MAIN]
        rows.append([name, mean_text(first), difference_text(first), *tested, *others])
    return rows


def main_header(study: AblationTable, split: str) -> list[str]:
    """The main table's headings."""
    tested = ["p (Holm)"] if split == study.split else []
    return [
        "Method",
        "Acc@0.5",
        f"Difference from {study.reference} [95 %]",
        *tested,
        *(heading for _, heading in MAIN),
    ]


def notes(study: AblationTable) -> str:
    """What the numbers are: sample sizes, resampling, tests."""
    found = study.cell(study.reference, "acc@0.5")
    recall = study.cell(study.reference, "recall@0.5")
    compared = len(study.baselines) + len(study.variants) - 1
    bound = f" Proposal recall@0.5 {percent(recall['mean'])}." if recall else ""
    return (
        f"Dataset {study.dataset}, split {study.split}: {found['n'] if found else 0} expressions of"
        f" {study.images.get(study.split, 0)} images; seeds {', '.join(map(str, study.seeds))}"
        " (baselines without chance run once). Values are percentages, mean ± sample deviation over"
        " seeds. Differences are in points, method minus"
        f" {study.reference}, with the 95 % percentile interval of a paired bootstrap by image"
        f" ({study.resamples} resamples, seeds averaged); p two-sided, adjusted by Holm for"
        f" {compared} comparisons. The interval speaks of other images, the deviation of other"
        f" seeds.{bound}"
    )


def verdicts(study: AblationTable) -> list[str]:
    """Which methods the interval tells apart from the reference, and which it does not."""
    parts: dict[str, list[str]] = {"below": [], "null": [], "above": []}
    for name in (*study.baselines, *study.variants):
        row = study.cell(name, "acc@0.5")
        if name == study.reference or row is None or pd.isna(row["low"]):
            continue
        side = "below" if row["high"] < 0 else "above" if row["low"] > 0 else "null"
        parts[side].append(name)
    texts = {
        "below": f"Below {study.reference} (the interval excludes 0)",
        "null": f"Not told apart from {study.reference} (the interval contains 0: a null result)",
        "above": f"Above {study.reference} (the interval excludes 0)",
    }
    return [f"{texts[side]}: {', '.join(names) or 'none'}." for side, names in parts.items()]


def group_table(study: AblationTable, key: str) -> str:
    """Acc@0.5 by the groups of `key`, such as flavour, with the n of each; "" without groups."""
    table = study.table
    rows = table[(table["metric"] == "acc@0.5") & (table["split"] == study.split)]
    found = [g for g in rows["group"].unique() if g.startswith(f"{key}=")]
    if not found:
        return ""
    order = {f"size={name}": i for i, name in enumerate(("small", "medium", "large"))}
    found.sort(key=lambda group: (order.get(group, 0), group))
    counts = {g: rows.loc[rows["group"] == g, "n"].iloc[0] for g in found}
    header = ["Method", *(f"{g.split('=', 1)[1]} (n {counts[g]})" for g in found)]
    body = [
        [name, *(mean_text(study.cell(name, "acc@0.5", group)) for group in found)]
        for name in (*study.baselines, *study.variants)
    ]
    return f"\n## Acc@0.5 by {key}\n\n{markdown(header, body)}"


def render_markdown(study: AblationTable) -> str:
    """The whole report as Markdown."""
    title = f"# Ablation on {study.dataset}\n\n"
    if study.cell(study.reference, "acc@0.5") is None:
        return f"{title}No expression of split {study.split} has a target: nothing to compare.\n"
    names = (*study.baselines, *study.variants)
    text = title + markdown(main_header(study, study.split), main_rows(study, names, study.split))
    text += f"\n{notes(study)}\n\n" + "".join(f"- {line}\n" for line in verdicts(study))
    keys = ("flavour", "size", "distractors", "words", "said")
    text += "".join(group_table(study, key) for key in keys)
    for split in study.table["split"].unique():
        if split != study.split:
            found = study.cell(study.reference, "acc@0.5", split=split)
            size = (
                f"{found['n'] if found else 0} expressions of {study.images.get(split, 0)} images"
            )
            rows = main_rows(study, names, split)
            text += f"\n## Split {split}: {size}\n\n"
            text += markdown(main_header(study, split)[:6], [row[:6] for row in rows])
    return text


def render_latex(study: AblationTable) -> str:
    """The main table as LaTeX; a comment alone when there is nothing to compare."""
    if study.cell(study.reference, "acc@0.5") is None:
        return f"% no expression of split {study.split} has a target: nothing to compare\n"
    blocks = [main_rows(study, names, study.split) for names in (study.baselines, study.variants)]
    label = f"tab:ablation-{study.dataset}"
    return latex(main_header(study, study.split), blocks, notes(study), label)
