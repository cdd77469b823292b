"""The gallery as one PNG, for documents: a few cards, each with boxes, matcher's map and own map."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from camground.report.gallery import Card, enlarged, heat_rgba, open_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUE, CHOSEN = "#18e0c8", "#ff6a1a"
RIGHT, WRONG = "#0b7a5c", "#9a5a00"


def _outline(axes: Axes, box: list[float], colour: str, dashed: bool, width: float) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    lines = [("#000000", width + 1.8, "-"), (colour, width, "--" if dashed else "-")]
    for ink, line_width, dash in lines:
        patch = Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, ec=ink, lw=line_width, ls=dash, clip_on=False
        )
        axes.add_patch(patch)


def contact_sheet(cards: list[Card], rows: int = 4) -> Figure:
    """At most `rows` right cards on the left and `rows` wrong ones on the right, in their order."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    right = [card for card in cards if card.right][:rows]
    wrong = [card for card in cards if not card.right][:rows]
    height = max(len(right), len(wrong), 1)
    figure, grid = plt.subplots(
        height, 6, figsize=(12, 2.45 * height + 0.7), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(h_pad=0.16, hspace=0.0)  # type: ignore[union-attr, call-arg]
    for axes in grid.flat:
        axes.set_axis_off()
    for side, column in ((right, 0), (wrong, 3)):
        for line, card in enumerate(side):
            _draw(list(grid[line, column : column + 3]), card)
    figure.suptitle(
        "The first right answers (left) and the first wrong ones (right) in hash order",
        x=0.008,
        ha="left",
        fontsize=10,
    )
    handles = [
        Line2D([], [], color=TRUE, lw=2.5, ls="--", label="true box"),
        Line2D([], [], color=CHOSEN, lw=2.5, label="chosen box"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axes: list[Axes], card: Card) -> None:
    picture = np.asarray(open_picture(card, 480))
    extent = (0, card.width, card.height, 0)
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    maps = (None, card.matcher_map, card.own_map)
    iou = card.outcomes.get("iou", 0.0)
    titles = (
        f"IoU {iou:.2f}" + ("" if card.right else f", {card.cause}"),
        "matcher's CAM",
        "own CAM",
    )
    for panel, heat, title in zip(axes, maps, titles, strict=True):
        panel.set_axis_on()
        panel.set_xticks([])
        panel.set_yticks([])
        panel.grid(False)
        for spine in panel.spines.values():
            spine.set_visible(False)
        panel.imshow(picture if panel is axes[0] else grey, extent=extent)
        if heat is not None:
            panel.imshow(heat_rgba(enlarged(heat)), extent=extent, interpolation="bilinear")
        for box in card.true:
            _outline(panel, box, TRUE, True, 1.8)
        if card.chosen and panel is axes[0]:
            _outline(panel, card.chosen, CHOSEN, False, 1.8)
        panel.set_xlim(0, card.width)
        panel.set_ylim(card.height, 0)
        panel.set_xlabel(title, fontsize=8.5)
    shown = textwrap.shorten(f"“{card.text}”", 72, placeholder=" …”")
    # Not the axes' title: as wide as three panels, that would widen the first one's column.
    label = axes[0].annotate(
        shown,
        (0, 1),
        xytext=(0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        fontweight="bold",
        color=RIGHT if card.right else WRONG,
    )
    label.set_in_layout(False)
