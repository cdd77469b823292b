"""The gallery: which expressions are shown, by a rule that cannot pick; their pictures and heat maps.

The rule: the evaluated expressions of one variant and seed are put in the order of a hash of their id;
the first few right ones (IoU of at least 0.5 by the study's protocol) and the first few wrong ones are
shown. Nothing about a picture or an answer, apart from right and wrong, enters the order.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camground.data.photographs import read_photograph
from camground.report.results import Results, failure_cause
from camground.study import tables

HEAT_SIDE = 96


@dataclass
class Card:
    """One expression: boxes xyxy in pixels of the image of `width` x `height`; maps (h, w) in [0, 1]."""

    expression_id: str
    outcomes: dict[str, float]
    right: bool
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
    def cause(self) -> str:
        """`right`, or why the answer is wrong."""
        return "right" if self.right else failure_cause(self.outcomes)


def hash_order(ids: Iterable[str], seed: int) -> list[str]:
    """`ids` in the order of a hash of each with `seed`: the same on every machine."""
    return sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def choose(results: Results) -> tuple[list[Card], dict[str, int]]:
    """The cards in hash order, right ones first, without their contents; and how many there are of
    `right` and `wrong` in all."""
    options = results.options["gallery"]
    variant, seed = options["variant"], results.config["seeds"][0]
    outcomes = results.outcomes(variant, seed)
    cards = [
        Card(name, outcomes[name], outcomes[name].get("acc@0.5", 0.0) == 1)
        for name in hash_order(outcomes, options["order_seed"])
    ]
    right = [card for card in cards if card.right]
    wrong = [card for card in cards if not card.right]
    counts = {"right": len(right), "wrong": len(wrong)}
    return right[: options["successes"]] + wrong[: options["failures"]], counts


def _map(height: Any, width: Any, data: bytes | None) -> np.ndarray | None:
    if data is None or not height or not width:
        return None
    return np.frombuffer(data, dtype=np.uint8).reshape(int(height), int(width)) / 255.0


def fill(results: Results, cards: list[Card]) -> list[Card]:
    """Cards with text, boxes, proposals and maps, read batch by batch. A card whose expression has no
    prediction (an image without proposals) keeps an empty `chosen`."""
    root, options = results.root, results.options["gallery"]
    by_id = {card.expression_id: card for card in cards}
    folder = root / options["variant"] / f"seed{results.config['seeds'][0]}"

    def rows_of(name: str, path: Path, key: str, wanted: Iterable[str]) -> Iterable[dict[Any, Any]]:
        for batch in tables.batches(name, path):
            yield from batch[batch[key].isin(list(wanted))].to_dict(orient="records")

    data = root / "data"
    for row in rows_of("expressions", data / "expressions.parquet", "expression_id", by_id):
        card = by_id[row["expression_id"]]
        card.text, card.image_id = row["text"], row["image_id"]
    by_image: dict[str, list[Card]] = {}
    for card in cards:
        by_image.setdefault(card.image_id, []).append(card)
    for row in rows_of("images", data / "images.parquet", "image_id", by_image):
        for card in by_image[row["image_id"]]:
            card.path = tables.image_path(data / "images.parquet", row["path"])
            card.width, card.height = int(row["width"]), int(row["height"])
    for row in rows_of("targets", data / "targets.parquet", "expression_id", by_id):
        card = by_id[row["expression_id"]]
        card.true = [[float(x) for x in box] for box in row["boxes_xyxy"]]
        card.flavour = row["flavour"] if isinstance(row["flavour"], str) else None
    path = root / "proposals" / "proposals.parquet"
    for row in rows_of("proposals", path, "image_id", by_image):
        for card in by_image[row["image_id"]]:
            card.proposals.append([float(x) for x in row["box_xyxy"]])
    for row in rows_of("cams", root / "gradcam" / "cams.parquet", "expression_id", by_id):
        card = by_id[row["expression_id"]]
        card.matcher_map = _map(row["height"], row["width"], row["map"])
    for row in rows_of("predictions", folder / "predictions.parquet", "expression_id", by_id):
        card = by_id[row["expression_id"]]
        card.chosen = [float(x) for x in row["box_xyxy"]]
        card.own_map = _map(row["cam_height"], row["cam_width"], row["cam"])
    return cards


def open_picture(card: Card, longest: int) -> Image.Image:
    """The photograph, RGB, its longest side at most `longest` pixels."""
    picture = read_photograph(card.path)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def picture_uri(picture: Image.Image) -> str:
    """A picture as a JPEG `data:` address."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def enlarged(heat: np.ndarray) -> np.ndarray:
    """A map (h, w) in [0, 1], smoothly enlarged to a longest side of `HEAT_SIDE`, still in [0, 1]."""
    scale = HEAT_SIDE / max(heat.shape)
    size = (max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[0] * scale)))
    image = Image.fromarray(np.asarray(heat, dtype=np.float32))
    return np.clip(np.asarray(image.resize(size, Image.Resampling.BICUBIC)), 0.0, 1.0)


def heat_rgba(heat: np.ndarray) -> np.ndarray:
    """A map (h, w) in [0, 1] as uint8 RGBA (h, w, 4): hot where high, clear where low.

    Scaled by its own maximum, as a Grad-CAM has no unit; a map of zeros stays clear.
    """
    import matplotlib

    scaled = heat / max(float(heat.max()), 1e-6)
    coloured = matplotlib.colormaps["inferno"](0.25 + 0.75 * scaled)
    coloured[..., 3] = np.clip(scaled * 1.15, 0, 0.88)
    return (coloured * 255).astype(np.uint8)


def heat_uri(heat: np.ndarray) -> str:
    """A map as a PNG `data:` address, to be stretched over the photograph."""
    buffer = io.BytesIO()
    rgba = Image.fromarray(heat_rgba(enlarged(heat)), mode="RGBA")
    rgba.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
