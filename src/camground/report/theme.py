"""Colours and type of the charts, and charts as PNG and as SVG that follows the page's theme.

Ink, grid and ground are drawn in marker colours that `to_svg` replaces by the page's CSS variables, so
a chart is readable on a light and on a dark page. Series keep their colours on both.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camground.report.ablation_table import AblationTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Theme(NamedTuple):
    """Colours of everything that is not a series."""

    ink: str
    soft: str
    grid: str
    ground: str


PAPER = Theme("#1c2430", "#667085", "#e3e7ee", "#ffffff")
# Colours that occur nowhere else, so that text replacement is safe.
MARKERS = Theme("#010203", "#040506", "#070809", "#0a0b0c")
VARIABLES = {
    colour: f"var(--{name})" for colour, name in zip(MARKERS, ("ink", "soft", "grid", "card"), strict=True)
}
# The first eight are told apart on white and on near black, and by most colour-blind readers (after Okabe and
# Ito); the others, for large studies, are less far from those.
SERIES = (
    *("#2f7de1", "#e8870c", "#12a37a", "#d1538f", "#8b6fe0", "#b59a00", "#27a9c9", "#d9534f"),
    *("#a0622d", "#6f9e3f", "#6c7fb8", "#c07ab8"),
)
# Inches, so narrow that a chart's text is legible on a page of 400 pixels.
WIDTH = 6.2
NEUTRAL = "#8a94a6"
ANSWER_COLOURS = {
    "right": "#12a37a",
    "wrong extent": "#e8c14d",
    "wrong object": "#e8870c",
    "proposal missing": "#8a94a6",
}


def colours(table: AblationTable) -> dict[str, str]:
    """A colour for each variant, and after these for somebody else's boxes, the same in all charts."""
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate([*table.variants, *table.methods])}


def bare_rows(axes: Axes, names: list[str]) -> np.ndarray:
    """Names as rows from top to bottom, without an axis line; returns their heights."""
    heights = np.arange(len(names))[::-1].astype(float)
    axes.set_yticks(heights, names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    return heights


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    """Matplotlib settings of a theme, without a display."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "camground",
            "font.size": 10,
            "text.color": theme.ink,
            "axes.labelcolor": theme.soft,
            "axes.edgecolor": theme.grid,
            "axes.titlecolor": theme.ink,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.facecolor": "none",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": theme.grid,
            "grid.linewidth": 0.8,
            "xtick.color": theme.soft,
            "ytick.color": theme.soft,
            "legend.frameon": False,
            "figure.facecolor": theme.ground if theme is PAPER else "none",
        }
    ):
        yield


def to_svg(draw: Callable[[], Figure | None]) -> str:
    """A chart as inline SVG in the page's colours and font, as wide as its container; "" for None."""
    text = _drawn(draw, MARKERS, "svg", metadata={"Date": None}).decode()
    if not text:
        return ""
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    # Only the first `px`: the shorthand's size; then the family up to the end of the property.
    text = re.sub(r"(font: [^;\"]*?\dpx )[^;\"]+", r"\1system-ui, sans-serif", text)
    return re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", text, count=1).replace(
        ' height="', ' data-height="', 1
    )


def to_png(draw: Callable[[], Figure | None]) -> bytes:
    """A chart as PNG on white, for documents; empty for None."""
    return _drawn(draw, PAPER, "png", dpi=150, metadata={"Software": None})


def _drawn(draw: Callable[[], Figure | None], theme: Theme, form: str, **options: Any) -> bytes:
    import matplotlib.pyplot as plt

    with style(theme):
        figure = draw()
        if figure is None:
            return b""
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, bbox_inches="tight", **options)
        plt.close(figure)
    return buffer.getvalue()
