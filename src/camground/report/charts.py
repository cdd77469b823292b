"""The report's charts: each draws a matplotlib figure within `theme.style`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from camground.evaluation.metric_table import GROUPINGS, METRICS, PRIMARY
from camground.report.ablation_table import BOUND, NULL, AblationTable
from camground.report.budget import chosen
from camground.report.results import ANSWERS, Results
from camground.report.theme import ANSWER_COLOURS, MARKERS, NEUTRAL, WIDTH, bare_rows, colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = METRICS[PRIMARY].heading
# Metric of the own map, title. The matcher's map has the same with `matcher_` before it.
CAM_TITLES = {
    "cam_coverage": "coverage of the object (higher: more of it)",
    "cam_iou": "IoU of map and object (higher)",
    "cam_energy": "share of the map inside (higher)",
    "cam_spill": "spill over the object's edge (lower)",
}


def _ink(soft: bool = False) -> str:
    import matplotlib

    return str(matplotlib.rcParams["xtick.color" if soft else "text.color"])


def _panels(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A grid of `count` axes, each panel `height` inches high."""
    import matplotlib.pyplot as plt

    columns = max(1, min(columns, count))
    rows = -(-max(count, 1) // columns)
    size = (WIDTH, height * rows + 0.5)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.set_visible(False)
    return figure, flat[:count]


def _legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """One legend below the panels, each label once."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        columns = min(len(handles), 3)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns)


def accuracy(results: Results) -> Figure:
    """Above: each method's mean with its seeds. Below: the tested differences from the reference, 95 %.
    Floors and the oracle are not among these: their differences would leave the others no room."""
    import matplotlib.pyplot as plt

    table, palette = results.table, colours(results.table)
    shown = {name: row for name in table.kinds if (row := table.row(name))}
    verdicts = {name: verdict for name in shown if (verdict := table.difference(name).verdict)}
    top = max((100 * row["mean"] for row in shown.values()), default=0.0)
    lines = (len(shown), len(verdicts))
    size = (WIDTH, 0.27 * sum(lines) + 1.6)
    figure, (above, below) = plt.subplots(2, 1, figsize=size, height_ratios=lines, layout="constrained")
    limit = min(108.0, max(1.12 * top, 5.0))
    for height, name in zip(_named_rows(above, shown, palette), shown, strict=True):
        mean, trained = 100 * shown[name]["mean"], name in palette
        colour = palette.get(name, NEUTRAL)
        above.barh(height, mean, height=0.66, color=colour, alpha=1.0 if trained else 0.55)
        seeds = [100 * value for value in results.seed_values(name)]
        if len(seeds) > 1:
            above.plot(seeds, [height] * len(seeds), "|", color=_ink(), ms=8, mew=1.2)
        end = max(mean, *seeds, 0) + 0.012 * limit
        above.text(end, height, f"{mean:.1f}", va="center", color=_ink(), fontsize=9.5)
    above.set_xlim(0, limit)
    above.set_title(f"{HEADING}, per cent (marks: seeds)")
    for height, name in zip(_named_rows(below, verdicts, palette), verdicts, strict=True):
        _draw_difference(below, shown[name], verdicts[name], height, palette.get(name, NEUTRAL))
    below.axvline(0, color=_ink(soft=True), lw=1)
    below.set_title(f"Difference from {table.reference}, points, 95 %\n(hollow: {NULL}, by Holm)")
    return figure


def _named_rows(axes: Axes, names: Iterable[str], palette: dict[str, str]) -> np.ndarray:
    """`bare_rows`, the names of rows without a colour of their own soft; returns their heights."""
    listed = list(names)
    heights = bare_rows(axes, listed)
    for label, name in zip(axes.get_yticklabels(), listed, strict=True):
        label.set_color(_ink(soft=name not in palette))
    return heights


def _draw_difference(axes: Axes, row: dict[str, Any], verdict: str, height: float, colour: str) -> None:
    """A point with its interval, hollow where no difference is shown; a diamond for the reference."""
    if row["difference"] is None:
        axes.plot(0, height, "D", color=colour, ms=5)
        return
    face: Any = colour
    if row["low"] is not None and row["high"] is not None:
        axes.plot([100 * row["low"], 100 * row["high"]], [height, height], color=colour, lw=2.2)
    if verdict == NULL:
        ground: Any = axes.figure.get_facecolor()
        face = MARKERS.ground if ground[3] == 0 else ground
    axes.plot(100 * row["difference"], height, "o", ms=6.5, mfc=face, mec=colour, mew=1.8)


def _curve_names(names: list[str]) -> list[str]:
    """The curves to draw: the total loss and everything measured on val, else what there is."""
    losses = [name for name in names if name.endswith("/loss") or name == "loss"]
    val = [name for name in names if name.startswith("val") and name not in losses]
    return (losses + val or names)[:6]


def curves(results: Results) -> Figure | None:
    """Training curves by epoch, each seed's and their mean: the matcher's, then, by name, every variant's;
    None where nothing is trained."""
    from matplotlib.ticker import MaxNLocator

    if not results.table.variants:
        return None
    palette = colours(results.table)
    matchers = [results.history(results.run_folder("matcher", seed)) for seed in results.table.seeds]
    runs = {name: list(results.histories(name).values()) for name in results.table.variants}
    names = _curve_names([*dict.fromkeys(n for of_seeds in runs.values() for run in of_seeds for n in run)])
    of_matcher = _curve_names(list(matchers[0]))[:2]
    figure, panels = _panels(len(of_matcher) + len(names), 2, 2.2)
    for axes, name in zip(panels, of_matcher, strict=False):
        _draw_seeds(axes, [run[name] for run in matchers], NEUTRAL)
        axes.set_title(f"matcher: {name}")
    for axes, name in zip(panels[len(of_matcher) :], names, strict=True):
        for variant, of_seeds in runs.items():
            _draw_seeds(axes, [run[name] for run in of_seeds if name in run], palette[variant], variant)
        axes.set_title(name)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _legend(figure, panels)
    return figure


def _draw_seeds(
    axes: Axes, drawn: list[tuple[np.ndarray, np.ndarray]], colour: str, label: str | None = None
) -> None:
    """The seeds' curves, and their mean up to where the first of them ends."""
    for places, values in drawn:
        draw_curve(axes, places, values, color=colour, lw=0.7, alpha=0.4)
    if drawn:
        count = min(len(values) for _, values in drawn)
        mean = np.mean([values[:count] for _, values in drawn], axis=0)
        draw_curve(axes, drawn[0][0][:count], mean, color=colour, lw=1.9, label=label)


def learning_curves(results: Results) -> Figure | None:
    """Accuracy on val against steps: every variant's seeds, their mean up to where the first of them ends,
    and the epochs that captions chose; None where no expression of val has a target."""
    import matplotlib.pyplot as plt

    palette = colours(results.table)
    found = {name: results.learning_curves(name).values() for name in results.table.variants}
    runs = {name: shown for name, curves in found.items() if (shown := [c for c in curves if len(c)])}
    if not runs:
        return None
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4), layout="constrained")
    for name, curves in runs.items():
        drawn = [(curve["step"].to_numpy(), 100 * curve["accuracy"].to_numpy()) for curve in curves]
        _draw_seeds(axes, drawn, palette[name], name)
        for (steps, values), curve in zip(drawn, curves, strict=True):
            axes.plot(steps[chosen(curve)], values[chosen(curve)], "o", color=palette[name], ms=5.5)
    axes.set_xlabel("steps")
    axes.set_title(f"{HEADING} on val, per cent, no vote\n(dots: the epochs that captions chose)")
    _legend(figure, [axes])
    return figure


def draw_curve(axes: Axes, places: np.ndarray, values: np.ndarray, **look: Any) -> None:
    """A line; a curve of one epoch has no line to be seen, so it gets a point."""
    axes.plot(places, values, marker="o" if len(places) == 1 else "", **look)


def by_group(table: AblationTable, keys: Iterable[str]) -> Figure | None:
    """Accuracy by the groups of each key: variants, somebody else's boxes, the strongest baseline and the
    bound; None where nothing is grouped."""
    grouped = {key: groups for key in keys if len(groups := table.groups(key)) > 1}
    if not grouped:
        return None
    palette = colours(table)
    bound = [name for name in table.baselines if name == BOUND]
    shown = [*table.variants, *table.methods, *table.ranked(table.baselines)[:1], *bound]
    offsets = np.linspace(-0.3, 0.3, len(shown)) if len(shown) > 1 else np.zeros(1)
    figure, panels = _panels(len(grouped), 1, 2.7)
    for axes, (key, groups) in zip(panels, grouped.items(), strict=True):
        for name, offset in zip(shown, offsets, strict=True):
            means = [table.mean(name, group=f"{key}={value}") for value in groups]
            points = [(i + offset, 100 * m) for i, m in enumerate(means) if m is not None]
            if points:
                # no lines: between groups there is nothing
                marker = "o" if name in palette else ("^" if name == BOUND else "s")
                look: dict[str, Any] = {"color": palette.get(name, NEUTRAL), "ms": 5.5}
                axes.plot(*zip(*points, strict=True), marker, label=name, clip_on=False, **look)
        axes.set_xticks(range(len(groups)), [f"{value}\nn {n}" for value, n in groups.items()])
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.grid(False, axis="x")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{HEADING} by {GROUPINGS[key]}, per cent")
    _legend(figure, panels)
    return figure


def cam_quality(table: AblationTable) -> Figure | None:
    """The model's own map against the matcher's, by statistic; None where no map was measured."""
    means = {metric: {name: table.mean(name, metric) for name in table.variants} for metric in CAM_TITLES}
    measured = [metric for metric, by_name in means.items() if any(m is not None for m in by_name.values())]
    if not measured:
        return None
    palette = colours(table)
    figure, panels = _panels(len(measured), 1, 0.27 * len(table.variants) + 0.7)
    for axes, metric in zip(panels, measured, strict=True):
        heights = bare_rows(axes, table.variants)
        matcher = table.mean(table.reference, f"matcher_{metric}")
        if matcher is not None:
            soft = _ink(soft=True)
            axes.axvline(100 * matcher, color=soft, ls="--", lw=1.3, label="matcher's Grad-CAM")
        for height, (variant, own) in zip(heights, means[metric].items(), strict=True):
            if own is not None:
                start = 100 * (own if matcher is None else matcher)
                axes.plot([start, 100 * own], [height] * 2, color=palette[variant], lw=1.6, alpha=0.6)
                axes.plot(100 * own, height, "o", color=palette[variant], ms=7)
        axes.set_title(CAM_TITLES[metric])
        axes.margins(x=0.15)
    _legend(figure, panels)
    return figure


def causes(results: Results) -> Figure:
    """Right answers and why the others failed: shares of all expressions, averaged over seeds."""
    import matplotlib.pyplot as plt

    table = results.table
    best = table.ranked(table.kinds)[:1]
    baselines = table.ranked(table.baselines)[: 1 if best and best[0] in table.variants else 2]
    names = [*table.variants, *table.methods, *baselines]
    figure, axes = plt.subplots(figsize=(WIDTH, 0.3 * len(names) + 1.3), layout="constrained")
    heights, left = bare_rows(axes, names), np.zeros(len(names))
    shares = [results.answer_shares(name) for name in names]
    for kind in ANSWERS:
        widths = np.array([100 * share[kind] for share in shares])
        colour = ANSWER_COLOURS[kind]
        bars = axes.barh(heights, widths, left=left, height=0.66, color=colour, label=kind)
        texts = [f"{width:.0f}" if width >= 5 else "" for width in widths]
        axes.bar_label(bars, texts, label_type="center", color="#10151d", fontsize=9)
        left += widths
    axes.set_xlim(0, 100)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_title("Per cent of the expressions")
    _legend(figure, [axes])
    return figure
