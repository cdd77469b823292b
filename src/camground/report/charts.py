"""The report's charts: a matplotlib figure of `Results` each, drawn within `theme.style`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from camground.report.main_table import BOUND, best_of, heading
from camground.report.results import CAUSES, Results
from camground.report.theme import CAUSE_COLOURS, MARKERS, NEUTRAL, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def colours(results: Results) -> dict[str, str]:
    """A colour for each variant, the same in all charts."""
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(results.variants)}


def _ink() -> str:
    import matplotlib

    return str(matplotlib.rcParams["text.color"])


def _soft() -> str:
    import matplotlib

    return str(matplotlib.rcParams["xtick.color"])


def _panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A grid of `count` axes; each panel `width` by `height` inches."""
    import matplotlib.pyplot as plt

    columns = max(1, min(columns, count))
    rows = -(-max(count, 1) // columns)
    size = (width * columns, height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.set_visible(False)
    return figure, flat[:count]


def _bare_y(axes: Axes, names: list[str]) -> np.ndarray:
    """Names as rows from top to bottom; returns their positions."""
    places = np.arange(len(names))[::-1].astype(float)
    axes.set_yticks(places, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    return places


def accuracy(results: Results) -> Figure:
    """Left: each method's mean with its seeds. Right: the difference from the reference, 95 %."""
    import matplotlib.pyplot as plt

    metric = results.options["metric"]
    names = [
        name
        for name in (*results.variants, *sorted(results.baselines, key=lambda n: n == BOUND))
        if results.mean(name, metric) is not None
    ]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 0.36 * len(names) + 1.1), width_ratios=(1.35, 1), layout="constrained"
    )
    palette = colours(results)
    places = _bare_y(left, names)
    means = np.array([100 * (results.mean(name, metric) or 0.0) for name in names])
    bars = [palette.get(name, NEUTRAL) for name in names]
    drawn = left.barh(places, means, height=0.62, color=bars)
    for bar, name in zip(drawn, names, strict=True):
        bar.set_alpha(1.0 if name in palette else 0.55)
    limit = min(108.0, max(1.12 * float(means.max(initial=0.0)), 5.0))
    for place, name, mean in zip(places, names, means, strict=True):
        seeds = 100 * np.array(results.seed_values(name, metric))
        if len(seeds) > 1:
            left.plot(seeds, np.full(len(seeds), place), "|", color=_ink(), ms=9, mew=1.3)
        left.text(
            max(mean, *seeds, 0) + 0.012 * limit,
            place,
            f"{mean:.1f}",
            va="center",
            color=_ink(),
            fontsize=9.5,
        )
    left.set_xlim(0, limit)
    left.set_title(f"{heading(metric)}, per cent (marks: seeds)")
    for label, name in zip(left.get_yticklabels(), names, strict=True):
        label.set_color(_ink() if name in palette else _soft())

    _bare_y(right, names)
    right.set_yticklabels([])
    for place, name in zip(places, names, strict=True):
        row = results.ablation[name, metric, "all"]
        if row["difference"] is None:
            right.plot(0, place, "D", color=palette.get(name, NEUTRAL), ms=5)
            continue
        colour = palette.get(name, NEUTRAL)
        if row["low"] is not None and row["high"] is not None:
            null = row["low"] <= 0 <= row["high"]
            right.plot([100 * row["low"], 100 * row["high"]], [place, place], color=colour, lw=2.2)
            face: Any = right.figure.get_facecolor() if null else colour
            if null and face[3] == 0:
                face = MARKERS.ground
            right.plot(100 * row["difference"], place, "o", ms=6.5, mfc=face, mec=colour, mew=1.8)
        else:
            right.plot(100 * row["difference"], place, "o", color=colour, ms=6)
    right.axvline(0, color=_soft(), lw=1)
    right.set_title(f"Difference from {results.reference}, points (hollow: interval holds 0)")
    return figure


def _curve_names(found: list[str], wanted: list[str]) -> list[str]:
    """The curves to draw: those asked for, else the total loss and everything measured on val."""
    if wanted:
        return [name for name in wanted if name in found]
    chosen = [name for name in found if name.endswith("/loss") or name == "loss"]
    chosen += [name for name in found if name.startswith("val") and name not in chosen]
    return (chosen or found)[:6]


def curves(results: Results) -> Figure:
    """Training curves by epoch: the matcher's and, for each name, every variant's mean over
    seeds."""
    from matplotlib.ticker import MaxNLocator

    wanted = list(results.options["curves"])
    matcher = results.history(results.root / "matcher")
    runs: dict[str, list[dict[str, tuple[np.ndarray, np.ndarray]]]] = {}
    for variant in results.variants:
        runs[variant] = [
            results.history(results.root / variant / f"seed{seed}" / "train")
            for seed in results.config["seeds"]
        ]
    every = list(dict.fromkeys(name for made in runs.values() for run in made for name in run))
    names = _curve_names(every, wanted)
    of_matcher = _curve_names(list(matcher), wanted)[:2]
    figure, panels = _panels(len(of_matcher) + len(names), 3, 3.5, 2.5)
    for axes, name in zip(panels, of_matcher, strict=False):
        axes.plot(*matcher[name], color=NEUTRAL, lw=1.8, marker=_marker(matcher[name][0]))
        axes.set_title(f"matcher: {name}")
    palette = colours(results)
    for axes, name in zip(panels[len(of_matcher) :], names, strict=True):
        for variant, made in runs.items():
            drawn = [run[name] for run in made if name in run]
            for epochs, values in drawn:
                look: dict[str, Any] = {"color": palette[variant], "marker": _marker(epochs)}
                axes.plot(epochs, values, **look, lw=0.7, alpha=0.4)
            if drawn and len({len(values) for _, values in drawn}) == 1:
                mean = np.mean([values for _, values in drawn], axis=0)
                axes.plot(drawn[0][0], mean, **look, lw=1.9, label=variant)
        axes.set_title(name)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _legend(figure, panels)
    return figure


def _marker(epochs: np.ndarray) -> str:
    """A curve of one epoch has no line to be seen, so it gets a point."""
    return "o" if len(epochs) == 1 else ""


def _legend(figure: Figure, panels: list[Axes]) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 5)
        )


def by_group(results: Results) -> Figure | None:
    """The metric by flavour, size, distractors, words: variants, the best baseline and the
    bound."""
    metric = results.options["metric"]
    keys = [key for key in results.options["groups"] if len(results.groups(key)) > 1]
    if not keys:
        return None
    palette = colours(results)
    known = {n: results.mean(n, metric) for n in results.baselines if n != BOUND}
    strongest = sorted(known, key=lambda n: -(known[n] or 0))[:1]
    shown = [*results.variants, *strongest, *(n for n in results.baselines if n == BOUND)]
    figure, panels = _panels(len(keys), 2, 5.2, 2.9)
    for axes, key in zip(panels, keys, strict=True):
        values = results.groups(key)
        offsets = np.linspace(-0.2, 0.2, len(shown)) if len(shown) > 1 else np.zeros(1)
        for name, offset in zip(shown, offsets, strict=True):
            means = [results.mean(name, metric, f"{key}={value}") for value in values]
            points = [(i + offset, 100 * m) for i, m in enumerate(means) if m is not None]
            if not points:
                continue
            marker = "o-" if name in palette else ("^:" if name == BOUND else "s--")
            colour = palette.get(name, NEUTRAL)
            places, shares = zip(*points, strict=True)
            axes.plot(
                places, shares, marker, color=colour, label=name, lw=1.0, ms=5.5, clip_on=False
            )
        counts = [results.ablation.get((results.reference, metric, f"{key}={v}")) for v in values]
        labels = [
            f"{value}\nn {row['n']}" if row else value
            for value, row in zip(values, counts, strict=True)
        ]
        axes.set_xticks(range(len(values)), labels)
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.grid(False, axis="x")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{heading(metric)} by {key}, per cent")
    _legend(figure, panels)
    return figure


CAM_METRICS = {
    "coverage": "coverage of the object (higher: more of it)",
    "iou": "IoU of map and object (higher)",
    "energy": "share of the map inside (higher)",
    "spill": "spill over the object's edge (lower)",
}


def cam_quality(results: Results) -> Figure | None:
    """The model's own map against the matcher's, by statistic; None where no map was measured."""
    known = [
        name
        for name in CAM_METRICS
        if any(results.mean(variant, f"cam_{name}") is not None for variant in results.variants)
    ]
    if not known:
        return None
    palette = colours(results)
    figure, panels = _panels(len(known), 2, 5.2, 0.3 * len(results.variants) + 1.1)
    for at, (axes, name) in enumerate(zip(panels, known, strict=True)):
        places = _bare_y(axes, results.variants)
        if at % 2:
            axes.set_yticklabels([])
        matcher = results.mean(results.reference, f"matcher_cam_{name}")
        if matcher is not None:
            axes.axvline(100 * matcher, color=_soft(), ls="--", lw=1.3, label="matcher's Grad-CAM")
        for place, variant in zip(places, results.variants, strict=True):
            own = results.mean(variant, f"cam_{name}")
            if own is None:
                continue
            if matcher is not None:
                axes.plot(
                    [100 * matcher, 100 * own],
                    [place, place],
                    color=palette[variant],
                    lw=1.6,
                    alpha=0.6,
                )
            axes.plot(100 * own, place, "o", color=palette[variant], ms=7)
        axes.set_title(CAM_METRICS[name])
        axes.margins(x=0.15)
    _legend(figure, panels)
    return figure


def causes(results: Results) -> Figure:
    """Right answers and why the others failed: shares of all expressions, averaged over seeds."""
    import matplotlib.pyplot as plt

    metric = results.options["metric"]
    best = best_of(results, metric)
    names = [*results.variants]
    baselines = [n for n in results.baselines if n != BOUND]
    baselines.sort(key=lambda n: -(results.mean(n, metric) or 0))
    names += baselines[:1] if best in results.variants else baselines[:2]
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(names) + 1.2), layout="constrained")
    places = _bare_y(axes, names)
    left = np.zeros(len(names))
    shares = [results.cause_shares(name) for name in names]
    for cause in ("right", *CAUSES[::-1]):
        widths = np.array([100 * share[cause] for share in shares])
        label = cause if cause == "right" else f"{cause}"
        axes.barh(places, widths, left=left, height=0.66, color=CAUSE_COLOURS[cause], label=label)
        for place, start, width in zip(places, left, widths, strict=True):
            if width >= 5:
                axes.text(
                    start + width / 2, place, f"{width:.0f}", va="center", ha="center",
                    color="#10151d", fontsize=9,
                )  # fmt: skip
        left += widths
    axes.set_xlim(0, 100)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_title("Per cent of the expressions")
    _legend(figure, [axes])
    return figure
