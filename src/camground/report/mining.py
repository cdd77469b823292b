"""What attention mining does: the variants that differ from the reference in its keys alone, compared.

What can go wrong in mining is that the mask covers everything, which erases any score, or nothing; the
mask's share at the end of training shows it, and a row where that happened is marked collapsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from camground.evaluation.metric_table import METRICS, PRIMARY
from camground.report.ablation_table import Cell, percent
from camground.report.results import Results
from camground.report.theme import WIDTH, bare_rows, colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTIONS = ("grounder", "losses", "train")
# Shares of the image: a mean mask above or below has collapsed.
COLLAPSED_ABOVE, COLLAPSED_BELOW = 0.8, 0.02
# Of the ablation table. `pointing` is of the own map where there is one.
COLUMNS = (
    *(PRIMARY, "pointing", "cam_coverage", "cam_iou", "cam_energy", "cam_spill"),
    *("erased_score", "image_score"),
)
# Curve of history.parquet, heading.
CURVES = {"train/mask_share": "Mask share", "train/size_penalty": "Size penalty"}
HEADINGS = (*(METRICS[metric].heading for metric in COLUMNS), *CURVES.values())
WORDS = {
    "weight": "weight of mining",
    "order": "order of the gradient",
    "scorer": "scorer of what is left",
    "erase": "erased",
    "omega": "steepness ω of the mask",
    "sigma": "threshold σ of the mask",
    "warmup": "share of training that warms up",
    "every": "steps from one mining to the next",
    "size_weight": "weight of the size penalty",
    "size_limit": "largest mask without penalty",
    "keep_weight": "weight of the keep term",
}


@dataclass(frozen=True)
class Mined:
    """One variant. `differs`: its keys in words; `cells`: below `HEADINGS`; `collapsed`: "" or the seeds."""

    name: str
    differs: str
    cells: list[Cell]
    collapsed: str


def difference(config: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any] | None:
    """Keys of `losses.attention_mining` in which `config` differs from `reference`, with the values of
    `config`; None where any other key of `SECTIONS` differs too."""
    own, other = (_sections(config), _sections(reference))
    mining = own["losses"].pop("attention_mining", {})
    base = other["losses"].pop("attention_mining", {})
    if own != other:
        return None
    return {key: mining.get(key) for key in base | mining if mining.get(key) != base.get(key)}


def _sections(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: dict(config.get(name) or {}) for name in SECTIONS}


def in_words(differs: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """The keys of `difference` for readers, each with the value of the reference's attention mining."""
    if differs.get("weight") == 0:
        return "no attention mining"
    return "; ".join(
        f"{WORDS.get(key, key.replace('_', ' '))}: {value} instead of {reference.get(key)}"
        for key, value in differs.items()
    )


def collapse(shares: Mapping[int, float]) -> str:
    """Which seeds' masks, by their share of the image at the end of training, collapsed; "" for none."""
    large = [seed for seed, share in shares.items() if share > COLLAPSED_ABOVE]
    small = [seed for seed, share in shares.items() if share < COLLAPSED_BELOW]
    return "; ".join(
        f"collapsed: covers {what}"
        + ("" if len(seeds) == len(shares) else f", seed {', '.join(map(str, seeds))}")
        for seeds, what in ((large, "everything"), (small, "nothing"))
        if seeds
    )


def mined(results: Results) -> list[Mined]:
    """The reference and every variant that differs in mining alone; [] where there is no such variant."""
    table = results.table
    if not table.variants:
        return []
    reference = results.resolved_config()
    base = _sections(reference)["losses"].get("attention_mining", {})
    rows = []
    for variant in table.variants:
        differs = difference(results.resolved_config(variant), reference)
        if not differs and variant != table.reference:
            continue
        words = in_words(differs, base) if differs else "reference"
        runs = results.histories(variant)
        ends = [{seed: run[name][1][-1] for seed, run in runs.items() if name in run} for name in CURVES]
        cells = [table.cell(variant, metric) for metric in COLUMNS]
        cells += [_mean(list(by_seed.values())) for by_seed in ends]
        rows.append(Mined(variant, words, cells, collapse(ends[0])))
    return rows if len(rows) > 1 else []


def _mean(values: list[float]) -> Cell:
    deviation = percent(float(np.std(values, ddof=1))) if len(values) > 1 else ""
    return Cell(percent(float(np.mean(values))), deviation) if values else Cell()


def chart(results: Results, rows: list[Mined]) -> Figure | None:
    """Above: IoU of the own CAM's mask with the object against its coverage. Below: accuracy. Bars are
    deviations over seeds, hollow points collapsed. None where no row's own map was compared with masks."""
    import matplotlib.pyplot as plt

    table = results.table
    shown = [row for row in rows if table.row(row.name, "cam_iou") and table.row(row.name, "cam_coverage")]
    if not shown:
        return None
    palette = colours(table)
    rows_height = 0.27 * len(shown) + 0.7
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(WIDTH, 3.4 + rows_height), height_ratios=(3.4, rows_height), layout="constrained"
    )
    heights = bare_rows(below, [row.name for row in shown])
    for index, (height, row) in enumerate(zip(heights, shown, strict=True)):
        # colours come round again after eight variants, with another shape
        look: dict[str, Any] = {"color": palette[row.name], "fmt": "os^Dv"[index // 8 % 5], "ms": 7}
        look |= {"mfc": "none"} if row.collapsed else {}
        (coverage, x_bar), (iou, y_bar), (accuracy, bar) = (
            _percents(table.row(row.name, metric)) for metric in ("cam_coverage", "cam_iou", PRIMARY)
        )
        above.errorbar(coverage, iou, xerr=x_bar, yerr=y_bar, **look)
        above.annotate(row.name, (coverage, iou), xytext=(6, 5), textcoords="offset points", fontsize=8)
        below.errorbar(accuracy, height, xerr=bar, **look)
    above.set_xlabel("coverage of the object, per cent")
    above.set_title("IoU of own CAM and object, per cent")
    above.margins(x=0.2, y=0.15)
    below.margins(x=0.15)
    below.set_title(f"{METRICS[PRIMARY].heading}, per cent")
    return figure


def _percents(row: dict[str, Any] | None) -> tuple[float, float]:
    """Mean and half the bar's length; no bar with one seed, no point without a value."""
    return (100 * row["mean"], 100 * (row["deviation"] or 0)) if row else (np.nan, 0.0)
