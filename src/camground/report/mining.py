"""What attention mining does: the variants that differ from the reference in its keys alone, compared.

What can go wrong in mining is that the mask covers everything, which erases any score, or nothing; the
mask's share at the end of training shows it, and a row where it happened is marked collapsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from camground.report.ablation_table import ABSENT, percent
from camground.report.charts import colours
from camground.report.results import Results
from camground.study.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTIONS = ("model", "losses", "train")
# Shares of the image: a mean mask above or below has collapsed.
COLLAPSED_ABOVE, COLLAPSED_BELOW = 0.8, 0.02
# Metric of the ablation table, heading. `pointing` is of the own map where there is one.
METRICS = (
    ("acc@0.5", "Acc@0.5"),
    ("pointing", "pointing"),
    ("cam_coverage", "coverage"),
    ("cam_iou", "IoU"),
    ("cam_energy", "energy"),
    ("cam_spill", "over-spill"),
    ("erased_score", "S(I*)"),
    ("image_score", "S(I)"),
)
# Curve of history.parquet, heading.
CURVES = (("train/mask_share", "mask share"), ("train/size_penalty", "size penalty"))
HEADINGS = tuple(heading for _, heading in (*METRICS, *CURVES))
WORDS = {
    "weight": "weight of mining",
    "order": "order of the gradient",
    "scorer": "scorer of what is left",
    "erase": "erased",
    "fill": "filled with the",
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
    """One variant. `differs`: its keys in words. `values`: mean and deviation (nan with one seed) of
    each metric and curve, shares; None where it is not measured. `collapsed`: "" or in which seeds."""

    name: str
    differs: str
    values: dict[str, tuple[float, float] | None]
    collapsed: str

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Mean and deviation of every column as text, in per cent, "" where there is none."""
        made = []
        for name, _ in (*METRICS, *CURVES):
            found = self.values[name]
            if found is None:
                made.append((ABSENT, ""))
            else:
                mean, deviation = found
                made.append((percent(mean), "" if np.isnan(deviation) else percent(deviation)))
        return made


def _losses(results: Results, variant: str) -> dict[str, Any]:
    """The sections of a variant's resolved config that variants may differ in."""
    path = results.root / variant / f"seed{results.config['seeds'][0]}" / "train" / "config.yaml"
    try:
        config = dict(yaml.safe_load(path.read_text()))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return {name: config.get(name) or {} for name in SECTIONS}


def difference(config: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any] | None:
    """Keys of `losses.attention_mining` in which `config` differs from `reference`, with the values of
    `config`; None where anything else differs too."""
    mining = [one["losses"].get("attention_mining") or {} for one in (config, reference)]
    rest = [
        {**one, "losses": {**one["losses"], "attention_mining": None}}
        for one in (config, reference)
    ]
    if rest[0] != rest[1]:
        return None
    own, other = mining
    return {key: own.get(key) for key in {**other, **own} if own.get(key) != other.get(key)}


def in_words(differs: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """The keys of `difference` for readers, each with the reference's value."""
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
    parts = []
    for seeds, what in ((large, "covers everything"), (small, "covers nothing")):
        if seeds:
            which = "" if len(seeds) == len(shares) else f", seed {', '.join(map(str, seeds))}"
            parts.append(f"collapsed: {what}{which}")
    return "; ".join(parts)


def _at_the_end(results: Results, variant: str, curve: str) -> dict[int, float]:
    """The last value of a curve by seed, of the seeds whose history has it."""
    found = {}
    for seed in results.config["seeds"]:
        history = results.history(results.root / variant / f"seed{seed}" / "train")
        if curve in history:
            found[seed] = float(history[curve][1][-1])
    return found


def mined(results: Results) -> list[Mined]:
    """The reference and every variant that differs in mining alone; [] where there is no such one."""
    reference = _losses(results, results.reference)
    base = reference["losses"].get("attention_mining") or {}
    rows = []
    for variant in results.variants:
        differs = difference(_losses(results, variant), reference)
        if variant == results.reference:
            words = "reference"
        elif differs:
            words = in_words(differs, base)
        else:
            continue
        values: dict[str, tuple[float, float] | None] = {}
        for metric, _ in METRICS:
            row = results.ablation.get((variant, metric, "all"))
            deviation = np.nan if row is None or row["deviation"] is None else row["deviation"]
            values[metric] = None if row is None else (row["mean"], deviation)
        ends = {curve: _at_the_end(results, variant, curve) for curve, _ in CURVES}
        for curve, by_seed in ends.items():
            found = list(by_seed.values())
            deviation = float(np.std(found, ddof=1)) if len(found) > 1 else np.nan
            values[curve] = (float(np.mean(found)), deviation) if found else None
        rows.append(Mined(variant, words, values, collapse(ends[CURVES[0][0]])))
    return rows if len(rows) > 1 else []


def measured(rows: list[Mined]) -> list[Mined]:
    """The rows whose own map was compared with masks: those that the chart shows."""
    return [row for row in rows if row.values["cam_iou"] and row.values["cam_coverage"]]


def chart(results: Results, shown: list[Mined]) -> Figure:
    """Of rows that are `measured`. Left: IoU of the own CAM's mask with the object against its coverage.
    Right: accuracy. Bars are deviations over seeds, hollow points collapsed."""
    import matplotlib.pyplot as plt

    palette = colours(results)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, max(3.4, 0.36 * len(shown) + 1.1)), layout="constrained"
    )
    places = np.arange(len(shown))[::-1].astype(float)
    for at, (place, row) in enumerate(zip(places, shown, strict=True)):
        # colours come round again after eight variants, with another shape
        look: dict[str, Any] = {"color": palette[row.name], "fmt": "os^Dv"[at // 8 % 5], "ms": 7}
        look |= {"mfc": "none"} if row.collapsed else {}
        coverage, iou, accuracy = (
            _percents(row.values[name]) for name in ("cam_coverage", "cam_iou", "acc@0.5")
        )
        left.errorbar(coverage[0], iou[0], xerr=coverage[1], yerr=iou[1], **look)
        left.annotate(
            row.name,
            (coverage[0], iou[0]),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=8,
        )
        right.errorbar(accuracy[0], place, xerr=accuracy[1], **look)
    left.set_xlabel("coverage of the object, per cent")
    left.set_title("IoU of own CAM and object, per cent")
    left.margins(x=0.2, y=0.15)
    right.set_yticks(places, [row.name for row in shown])
    right.set_ylim(-0.6, len(shown) - 0.4)
    right.tick_params(axis="y", length=0)
    right.grid(False, axis="y")
    right.spines["left"].set_visible(False)
    right.margins(x=0.15)
    right.set_title("Acc@0.5, per cent")
    return figure


def _percents(value: tuple[float, float] | None) -> tuple[float, float]:
    """Mean and half the bar's length; no bar with one seed, no point without a value."""
    mean, deviation = value or (np.nan, np.nan)
    return 100 * mean, 0.0 if np.isnan(deviation) else 100 * deviation
