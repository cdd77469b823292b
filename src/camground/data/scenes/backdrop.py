"""Grounds of the scenes: a far band above the horizon, a textured ground below, small clutter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from camground.data.scenes.parts import SUPERSAMPLING, Colour, shade

_SHIFT = 4
Litter = Callable[["_Sheet", float, float, Generator], None]


@dataclass(frozen=True)
class Theme:
    """Colours of far band, hills and ground, what lies about, and how the ground is laid."""

    far: Colour
    hills: Colour | None
    ground: Colour
    litter: tuple[Litter, ...]
    laid: str = "loose"  # loose | planks | tiles | ripples


class _Sheet:
    """A canvas of `side` pixels at twice that size; coordinates are shares of the side."""

    def __init__(self, side: int, theme: Theme) -> None:
        self.size = side * SUPERSAMPLING
        self.theme = theme
        self.canvas = np.empty((self.size, self.size, 3), dtype=np.uint8)
        self.canvas[:] = theme.ground

    def points(self, shares: list[tuple[float, float]] | np.ndarray) -> np.ndarray:
        points: np.ndarray = np.rint(np.asarray(shares) * self.size * (1 << _SHIFT))
        return points.astype(np.int32)

    def fill(self, shares: list[tuple[float, float]] | np.ndarray, colour: Colour) -> None:
        cv2.fillPoly(self.canvas, [self.points(shares)], colour, cv2.LINE_AA, _SHIFT)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        (cx, cy), (ax, ay) = self.points([(x, y), (rx, ry)]).tolist()
        cv2.ellipse(self.canvas, (cx, cy), (ax, ay), 0, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)

    def stroke(self, shares: list[tuple[float, float]], colour: Colour, thickness: int) -> None:
        cv2.polylines(self.canvas, [self.points(shares)], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _tuft(sheet: _Sheet, x: float, y: float, rng: Generator) -> None:
    colour, tall = shade(sheet.theme.ground, 0.76), float(rng.uniform(0.018, 0.035))
    for lean in (-0.6, 0.0, 0.6):
        sheet.stroke([(x + lean * 0.008, y), (x + lean * 0.025, y - tall)], colour, 2)


def _leaf(sheet: _Sheet, x: float, y: float, rng: Generator) -> None:
    angle, reach = float(rng.uniform(0, np.pi)), float(rng.uniform(0.012, 0.022))
    along = np.array([np.cos(angle), np.sin(angle)]) * reach
    across = along[::-1] * (-0.45, 0.45)
    colour = ((206, 148, 84), (190, 122, 84), (214, 176, 96))[int(rng.integers(3))]
    sheet.fill(np.array([along, across, -along, -across]) + (x, y), colour)


def _wave(sheet: _Sheet, x: float, y: float, rng: Generator) -> None:
    width = float(rng.uniform(0.02, 0.045))
    crest = [(x + width * t, y - 0.008 * (1 - t * t)) for t in (-1, -0.5, 0, 0.5, 1)]
    sheet.stroke(crest, shade(sheet.theme.ground, (0.84, 1.5)[int(rng.integers(2))]), 2)


def _crumb(sheet: _Sheet, x: float, y: float, rng: Generator) -> None:
    sheet.ellipse(x, y, 0.006, 0.005, shade(sheet.theme.ground, (0.7, 1.6)[int(rng.integers(2))]))


def _mound(limits: tuple[float, float], *ellipses: tuple[float, float, float, float, float]) -> Litter:
    """Ellipses of a random width within limits: x, y, rx, ry in widths, and their shade of the ground."""

    def draw(sheet: _Sheet, x: float, y: float, rng: Generator) -> None:
        width = float(rng.uniform(*limits))
        for dx, dy, rx, ry, factor in ellipses:
            colour = shade(sheet.theme.ground, factor)
            sheet.ellipse(x + width * dx, y + width * dy, width * rx, width * ry, colour)

    return draw


_pebble = _mound((0.008, 0.022), (0, 0.2, 1, 0.65, 0.74), (0, 0, 1, 0.6, 0.9))
_puddle = _mound((0.03, 0.08), (0, 0, 1, 0.4, 0.88), (0.1, -0.05, 0.7, 0.22, 1.25))
_bump = _mound((0.04, 0.1), (0, 0, 1, 0.22, 0.93))
THEMES: tuple[Theme, ...] = (
    Theme((206, 232, 246), (170, 206, 172), (192, 218, 162), (_tuft, _tuft, _pebble, _bump)),
    Theme((196, 228, 240), (146, 196, 216), (240, 224, 186), (_pebble, _bump, _crumb, _wave)),
    Theme((214, 220, 238), (196, 206, 228), (232, 238, 246), (_bump, _bump, _puddle, _pebble)),
    Theme((74, 80, 124), (92, 102, 142), (124, 138, 164), (_tuft, _pebble, _bump, _crumb)),
    Theme((250, 224, 196), (226, 172, 130), (238, 202, 152), (_pebble, _pebble, _bump, _crumb)),
    Theme((228, 232, 226), (196, 166, 132), (222, 190, 142), (_leaf, _leaf, _tuft, _bump)),
    Theme((236, 214, 208), None, (216, 182, 146), (_crumb,), "planks"),
    Theme((214, 226, 222), None, (226, 222, 210), (_crumb, _puddle), "tiles"),
    Theme((222, 236, 246), (186, 204, 206), (158, 206, 224), (_wave, _wave, _puddle), "ripples"),
    Theme((226, 216, 236), None, (186, 190, 214), (_crumb, _crumb), "tiles"),
)


def _far(sheet: _Sheet, horizon: float, rng: Generator) -> None:
    theme = sheet.theme
    sheet.canvas[: round(horizon * sheet.size)] = theme.far
    if theme.hills is None:
        width = float(rng.uniform(0.04, 0.09))
        for x in np.arange(0, 1, 2 * width).tolist():
            stripe = [(x, 0.0), (x + width, 0.0), (x + width, horizon), (x, horizon)]
            sheet.fill(stripe, shade(theme.far, 0.95))
        sheet.stroke([(0, horizon), (1, horizon)], shade(theme.ground, 0.7), 4)
        return
    for _ in range(int(rng.integers(1, 4))):
        x, y, wide = (float(v) for v in rng.uniform((0, 0.02, 0.04), (1, horizon * 0.6, 0.08)))
        for shift, factor in ((-0.7, 0.7), (0.0, 1.0), (0.75, 0.75)):
            sheet.ellipse(x + wide * shift, y, wide * factor, wide * 0.42 * factor, shade(theme.far, 1.5))
    for _ in range(3):
        x, wide, tall = (float(v) for v in rng.uniform((0, 0.2, 0.03), (1, 0.45, 0.1)))
        hill = [(x + wide * t, horizon - tall * (1 - t * t)) for t in np.linspace(-1, 1, 13).tolist()]
        sheet.fill(hill, shade(theme.hills, float(rng.uniform(0.94, 1.1))))


def _lay(sheet: _Sheet, horizon: float, rng: Generator) -> None:
    theme = sheet.theme
    joint = shade(theme.ground, 0.86)
    if theme.laid == "planks":
        rows = np.linspace(horizon, 1, 8)[1:].tolist()
        for top, bottom in zip([horizon, *rows], rows, strict=False):
            sheet.stroke([(0, bottom), (1, bottom)], joint, 2)
            x = float(rng.uniform(0.05, 0.95))
            sheet.stroke([(x, top), (x, bottom)], joint, 2)
    elif theme.laid == "tiles":
        step = float(rng.uniform(0.1, 0.17))
        start = int(np.ceil(horizon * sheet.size))
        index = np.arange(sheet.size) / (sheet.size * step)
        odd = (np.floor(index)[:, None] + np.floor(index)[None, :]) % 2 == 1
        sheet.canvas[start:][odd[start:]] = shade(theme.ground, 0.93)


def paint(side: int, horizon: float, rng: Generator) -> np.ndarray:
    """A ground (side, side, 3) uint8 RGB without objects; `horizon` is a share of the side."""
    theme = THEMES[int(rng.integers(len(THEMES)))]
    sheet = _Sheet(side, theme)
    _far(sheet, horizon, rng)
    _lay(sheet, horizon, rng)
    # far things are drawn first, so that nearer ones cover them
    count = int(rng.integers(14, 40))
    spots = rng.uniform((0.0, horizon + 0.03), (1.0, 1.0), (count, 2))
    for x, y in spots[np.argsort(spots[:, 1])].tolist():
        theme.litter[int(rng.integers(len(theme.litter)))](sheet, x, y, rng)
    small = cv2.resize(sheet.canvas, (side, side), interpolation=cv2.INTER_AREA)
    blotches = cv2.resize(
        rng.uniform(-9, 9, (9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    grain = rng.integers(-5, 6, (side, side), dtype=np.int8)
    mixed = small.astype(np.float32) + (blotches + grain)[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)
