"""The gallery: which expressions are shown, by a rule that cannot cherry-pick; their pictures, heat maps, and
the first of them as one sheet for documents.

The rule: the evaluated expressions of the reference's first seed are put in the order of a hash of their
id; the first few right answers (IoU of at least 0.5 by the study's protocol) and the first few wrong ones
are shown. Nothing about a picture or an answer, apart from right and wrong, enters the order. Where no phrase
has a true box, the first few answers are shown, and none is called right or wrong.
"""

from __future__ import annotations

import base64
import hashlib
import io
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from camground.data.photographs import read_photograph
from camground.report.config import GalleryConfig
from camground.report.results import Results, answer
from camground.study import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of the hash.
ORDER_SEED = 0
# Of the sheet: boxes, and the texts of right, of wrong and of unmeasured answers.
TRUE, CHOSEN = "#18e0c8", "#ff6a1a"
RIGHT, WRONG, UNMEASURED = "#0b7a5c", "#9a5a00", "#333333"
# Longest side of the pictures and of the heat maps, in pixels.
PICTURE_SIDE, HEAT_SIDE = 320, 96


@dataclass
class Card:
    """One expression: boxes xyxy in pixels of the image of `width` x `height`; maps (h, w) in [0, 1]."""

    expression_id: str
    outcomes: dict[str, float]
    text: str = ""
    image_id: str = ""
    path: Path = field(default_factory=Path)
    width: int = 0
    height: int = 0
    chosen: list[float] = field(default_factory=list)
    true: list[list[float]] = field(default_factory=list)
    proposals: list[list[float]] = field(default_factory=list)
    flavour: str | None = None
    matcher_map: np.ndarray | None = None
    own_map: np.ndarray | None = None

    @property
    def answer(self) -> str:
        """`right`, or why the answer is wrong; "" where it was not measured."""
        return answer(self.outcomes) if self.outcomes else ""

    @property
    def maps(self) -> list[tuple[str, np.ndarray | None, float | None]]:
        """Title, map, and the map's IoU with the object where it was measured; [] without any map."""
        if self.matcher_map is None and self.own_map is None:
            return []
        return [
            ("matcher's CAM", self.matcher_map, self.outcomes.get("matcher_cam_iou")),
            ("own CAM", self.own_map, self.outcomes.get("cam_iou")),
        ]


@dataclass(frozen=True)
class Gallery:
    """The cards of right and of wrong answers, and how many answers there are of each in all; or, where none
    was measured, cards of answers and how many there are."""

    right: list[Card]
    wrong: list[Card]
    right_count: int
    wrong_count: int
    unmeasured: list[Card] = field(default_factory=list)
    unmeasured_count: int = 0

    @property
    def cards(self) -> list[Card]:
        """All, right ones first."""
        return self.right + self.wrong + self.unmeasured


def hash_order(ids: Iterable[str], seed: int = ORDER_SEED) -> list[str]:
    """`ids` in the order of a hash of each with `seed`: the same on every machine."""
    return sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def choose(results: Results, config: GalleryConfig) -> Gallery:
    """The cards in hash order, without their contents."""
    if not results.measured:
        path = results.run_folder(results.table.reference) / "predictions.parquet"
        names = hash_order(tables.read("predictions", path, ["expression_id"])["expression_id"])
        shown = [Card(name, {}) for name in names[: config.successes + config.failures]]
        return Gallery([], [], 0, 0, shown, len(names))
    outcomes = results.outcomes(results.table.reference, results.table.seeds[0])
    cards = [Card(name, outcomes[name]) for name in hash_order(outcomes)]
    right = [card for card in cards if card.answer == "right"]
    wrong = [card for card in cards if card.answer != "right"]
    return Gallery(right[: config.successes], wrong[: config.failures], len(right), len(wrong))


def fill(results: Results, cards: list[Card]) -> None:
    """Give the cards text, boxes, proposals and maps, read batch by batch.

    A card whose expression has no prediction (an image without proposals) keeps an empty `chosen`.
    """
    data = results.root / "data"
    by_id = {card.expression_id: [card] for card in cards}
    by_image: dict[str, list[Card]] = {}
    for row, (card,) in _rows("expressions", data / "expressions.parquet", by_id):
        card.text, card.image_id = row["text"], row["image_id"]
        by_image.setdefault(card.image_id, []).append(card)
    for row, of_image in _rows("images", data / "images.parquet", by_image):
        for card in of_image:
            card.path = tables.image_path(data / "images.parquet", row["path"])
            card.width, card.height = int(row["width"]), int(row["height"])
    for row, (card,) in _rows("targets", data / "targets.parquet", by_id):
        card.true = [_box(box) for box in row["boxes_xyxy"]]
        card.flavour = row["flavour"] if isinstance(row["flavour"], str) else None
    for row, of_image in _rows("proposals", results.proposals_file, by_image):
        for card in of_image:
            card.proposals.append(_box(row["box_xyxy"]))
    cams = results.cams_file
    for row, (card,) in _rows("cams", cams, by_id) if cams else ():
        card.matcher_map = _map(row["height"], row["width"], row["map"])
    path = results.run_folder(results.table.reference) / "predictions.parquet"
    for row, (card,) in _rows("predictions", path, by_id):
        card.chosen = _box(row["box_xyxy"])
        card.own_map = _map(row["cam_height"], row["cam_width"], row["cam"])


def _rows(name: str, path: Path, cards: dict[str, list[Card]]) -> Iterator[tuple[dict[Any, Any], list[Card]]]:
    """A table's rows of the images or expressions that `cards` is by, each with its cards."""
    key = "image_id" if name in ("images", "proposals") else "expression_id"
    for batch in tables.batches(name, path):
        for row in batch[batch[key].isin(list(cards))].to_dict(orient="records"):
            yield row, cards[row[key]]


def _box(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values]


def _map(height: Any, width: Any, data: bytes | None) -> np.ndarray | None:
    return (
        None
        if data is None or not height or not width
        else np.frombuffer(data, dtype=np.uint8).reshape(int(height), int(width)) / 255.0
    )


def picture(card: Card, longest: int = PICTURE_SIDE) -> Image.Image:
    """The photograph, RGB, its longest side at most `longest` pixels."""
    photograph = read_photograph(card.path)
    photograph.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return photograph


def heat_rgba(heat: np.ndarray) -> np.ndarray:
    """A map (h, w) in [0, 1] as uint8 RGBA: hot where high, clear where low.

    Smoothly enlarged to a longest side of `HEAT_SIDE` and scaled by its own maximum, as a Grad-CAM has no
    unit; a map of zeros stays clear.
    """
    import matplotlib

    scale = HEAT_SIDE / max(heat.shape)
    size = (max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[0] * scale)))
    image = Image.fromarray(np.asarray(heat, dtype=np.float32))
    enlarged = np.clip(np.asarray(image.resize(size, Image.Resampling.BICUBIC)), 0.0, 1.0)
    scaled = enlarged / max(float(enlarged.max()), 1e-6)
    coloured = matplotlib.colormaps["inferno"](0.25 + 0.75 * scaled)
    coloured[..., 3] = np.clip(scaled * 1.15, 0, 0.88)
    rgba: np.ndarray = (coloured * 255).astype(np.uint8)
    return rgba


def data_uri(shown: Card | np.ndarray) -> str:
    """A card's photograph as a JPEG `data:` address, or a map as a PNG one, to be stretched over it."""
    buffer, form = io.BytesIO(), "jpeg" if isinstance(shown, Card) else "png"
    image = picture(shown) if isinstance(shown, Card) else Image.fromarray(heat_rgba(shown))
    image.save(buffer, form, optimize=True, quality=88)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def contact_sheet(gallery: Gallery, rows: int = 4) -> Figure:
    """At most `rows` right cards on the left and `rows` wrong ones on the right, in their order; unmeasured
    ones on both sides."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    right, wrong = gallery.right[:rows], gallery.wrong[:rows]
    title = "The first right answers (left) and the first wrong ones (right) in hash order"
    if gallery.unmeasured:
        right, wrong = gallery.unmeasured[:rows], gallery.unmeasured[rows : 2 * rows]
        title = "The first answers in hash order; there are no true boxes to measure them by"
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
    figure.suptitle(title, x=0.008, ha="left", fontsize=10)
    handles = [Line2D([], [], color=CHOSEN, lw=2.5, label="chosen box")]
    if not gallery.unmeasured:
        handles.insert(0, Line2D([], [], color=TRUE, lw=2.5, ls="--", label="true box"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axes: list[Axes], card: Card) -> None:
    photograph = np.asarray(picture(card, 480))
    extent = (0, card.width, card.height, 0)
    grey = np.repeat(photograph.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    right = card.answer == "right"
    iou = f"IoU {card.outcomes.get('iou', 0.0):.2f}" + ("" if right else f", {card.answer}")
    colour = RIGHT if right else WRONG
    if not card.outcomes:
        iou, colour = "chosen box", UNMEASURED
    for panel, (title, heat, _) in zip(axes, [(iou, None, None), *card.maps], strict=False):
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
        color=colour,
    )
    label.set_in_layout(False)


def _outline(axes: Axes, box: list[float], colour: str, dashes: str, width: float = 1.8) -> None:
    """A box (xyxy, pixels) in a colour, on a black line that shows on every ground."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    for ink, line_width, style in (("#000000", 2 * width, "-"), (colour, width, dashes)):
        look: dict[str, Any] = {"ec": ink, "lw": line_width, "ls": style, "fill": False, "clip_on": False}
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **look))
