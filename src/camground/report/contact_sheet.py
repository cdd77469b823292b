"""The gallery as one PNG, for documents: a few cards, each with boxes, matcher's map and own map."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from camground.report.gallery import Card, Gallery, heat_rgba, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUE, CHOSEN = "#18e0c8", "#ff6a1a"
RIGHT, WRONG = "#0b7a5c", "#9a5a00"


def contact_sheet(gallery: Gallery, rows: int = 4) -> Figure:
    """At most `rows` right cards on the left and `rows` wrong ones on the right, in their order."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    right, wrong = gallery.right[:rows], gallery.wrong[:rows]
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
    title = "The first right answers (left) and the first wrong ones (right) in hash order"
    figure.suptitle(title, x=0.008, ha="left", fontsize=10)
    handles = [
        Line2D([], [], color=TRUE, lw=2.5, ls="--", label="true box"),
        Line2D([], [], color=CHOSEN, lw=2.5, label="chosen box"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axes: list[Axes], card: Card) -> None:
    photograph = np.asarray(picture(card, 480))
    extent = (0, card.width, card.height, 0)
    grey = np.repeat(photograph.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    right = card.answer == "right"
    iou = f"IoU {card.outcomes.get('iou', 0.0):.2f}" + ("" if right else f", {card.answer}")
    for panel, (title, heat, _) in zip(axes, [(iou, None, None), *card.maps], strict=True):
        panel.set_axis_on()
        panel.set(xticks=[], yticks=[], xlim=(0, card.width), ylim=(card.height, 0))
        panel.grid(False)
        panel.spines[:].set_visible(False)
        panel.imshow(photograph if panel is axes[0] else grey, extent=extent)
        if heat is not None:
            panel.imshow(heat_rgba(heat), extent=extent, interpolation="bilinear")
        for box in card.true:
            _outline(panel, box, TRUE, "--")
        if card.chosen and panel is axes[0]:
            _outline(panel, card.chosen, CHOSEN, "-")
        panel.set_xlabel(title, fontsize=8.5)
    # Not the axes' title: as wide as three panels, that would widen the first one's column.
    label = axes[0].annotate(
        textwrap.shorten(f"“{card.text}”", 72, placeholder=" …”"),
        (0, 1),
        xytext=(0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9,
        fontweight="bold",
        color=RIGHT if right else WRONG,
    )
    label.set_in_layout(False)


def _outline(axes: Axes, box: list[float], colour: str, dashes: str, width: float = 1.8) -> None:
    """A box (xyxy, pixels) in a colour, on a black line that shows on every ground."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    for ink, line_width, style in (("#000000", 2 * width, "-"), (colour, width, dashes)):
        look: dict[str, Any] = {"ec": ink, "lw": line_width, "ls": style, "fill": False, "clip_on": False}
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **look))
