"""Parts that the objects of the scenes are made of, their colours, and how they become pixels.

A shape is a list of parts in its own units: x to the right, y down, about 100 units tall. `render`
fits the list to a size in pixels. Parts are rasterised at twice the size with antialiasing and
averaged down, as premultiplied RGBA, so that edges blend into any ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[int, int, int]  # RGB, 0 to 255

PATTERNS = ("plain", "striped", "dotted", "checked")
# Each named colour, and what a pattern on it is drawn with: light on most colours, dark on the light ones,
# so that it stays visible and the named colour keeps the larger share.
NAMED: dict[str, tuple[Colour, Colour]] = {
    "red": ((222, 62, 58), (255, 222, 206)),
    "orange": ((243, 143, 42), (255, 236, 196)),
    "yellow": ((250, 210, 62), (206, 146, 26)),
    "green": ((66, 162, 84), (206, 240, 190)),
    "blue": ((52, 118, 214), (204, 230, 255)),
    "purple": ((138, 82, 186), (232, 210, 250)),
    "pink": ((246, 140, 184), (255, 236, 244)),
    "brown": ((138, 90, 56), (226, 190, 146)),
    "white": ((248, 246, 240), (190, 192, 206)),
    "grey": ((140, 146, 154), (214, 220, 228)),
    "black": ((54, 55, 66), (134, 136, 154)),
}

INK: Colour = (46, 42, 58)
CREAM: Colour = (252, 240, 214)
WOOD: Colour = (156, 108, 70)
DARK_WOOD: Colour = (112, 76, 54)
LEAF: Colour = (92, 156, 78)
SLATE: Colour = (92, 92, 110)
STEEL: Colour = (172, 178, 190)
GLASS: Colour = (190, 226, 240)
GLOW: Colour = (255, 232, 140)
FLAME: Colour = (252, 168, 48)
CARROT: Colour = (240, 134, 50)
WHITE: Colour = (255, 255, 255)

SUPERSAMPLING = 2
_SHIFT = 4  # fractional bits of cv2's coordinates
# Fills that follow the object's own colour; any other fill is a colour of its own.
MAIN, PLAIN_MAIN, DARK, LIGHT = "main", "plain_main", "dark", "light"
Fill = str | Colour


@dataclass(frozen=True)
class Part:
    """A filled polygon, or with `stroke` > 0 an open line of that width; points (N, 2) in units."""

    points: np.ndarray
    fill: Fill = MAIN
    stroke: float = 0.0
    outlined: bool = True


@dataclass(frozen=True)
class Look:
    """Colour and pattern of one object. `angle` in radians and `phase` in [0, 1) move the pattern."""

    name: str
    colour: Colour
    pattern: str
    angle: float
    phase: float


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` towards black (factor below 1) or towards white (above 1; 2 is white)."""
    value = np.asarray(colour, dtype=np.float64)
    value = value * factor if factor <= 1 else value + (255 - value) * (factor - 1)
    red, green, blue = np.clip(np.rint(value), 0, 255).astype(int).tolist()
    return red, green, blue


def polygon(*points: tuple[float, float], fill: Fill = MAIN, outlined: bool = True) -> Part:
    return Part(np.array(points, dtype=np.float64), fill, outlined=outlined)


def line(*points: tuple[float, float], fill: Fill, width: float) -> Part:
    return Part(np.array(points, dtype=np.float64), fill, stroke=width)


@lru_cache(maxsize=64)
def _unit_arc(start: float, stop: float, steps: int) -> np.ndarray:
    angles = np.radians(np.linspace(start, stop, steps))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, steps: int = 16) -> np.ndarray:
    """Points (steps, 2) of an ellipse's arc; degrees, clockwise from the right as y points down."""
    return _unit_arc(start, stop, steps) * (rx, ry) + (x, y)


def ellipse(
    x: float, y: float, rx: float, ry: float = 0, fill: Fill = MAIN, tilt: float = 0, outlined: bool = True
) -> Part:
    """A whole ellipse (a circle without `ry`), turned by `tilt` degrees."""
    points = _unit_arc(0, 345, 24) * (rx, ry or rx)
    if tilt:
        points = points @ rotation(np.radians(tilt)).T
    return Part(points + (x, y), fill, outlined=outlined)


def box(
    x0: float, y0: float, x1: float, y1: float, fill: Fill = MAIN, corner: float = 0, outlined: bool = True
) -> Part:
    """A rectangle, its corners rounded by `corner` units."""
    if not corner:
        return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1), fill=fill, outlined=outlined)
    left, top, right, bottom = x0 + corner, y0 + corner, x1 - corner, y1 - corner
    corners = ((right, top, -90), (right, bottom, 0), (left, bottom, 90), (left, top, 180))
    points = np.concatenate([arc(x, y, corner, corner, start, start + 90, 6) for x, y, start in corners])
    return Part(points, fill, outlined=outlined)


def rotation(angle: float) -> np.ndarray:
    """Matrix (2, 2) that turns by `angle` radians, clockwise as y points down."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def turned(parts: list[Part], angle: float, mirrored: bool) -> list[Part]:
    """The parts mirrored left to right, if asked, then turned by `angle` radians."""
    matrix = rotation(angle) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return [Part(part.points @ matrix.T, part.fill, part.stroke, part.outlined) for part in parts]


def extent(parts: list[Part]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in units around all parts, the strokes' width included."""
    low = np.min([part.points.min(axis=0) - part.stroke / 2 for part in parts], axis=0)
    high = np.max([part.points.max(axis=0) + part.stroke / 2 for part in parts], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _coverage(look: Look, height: int, width: int, side: float) -> np.ndarray:
    """Share (height, width) in [0, 1] of the pattern's second colour at each pixel."""
    period = max(11.0, side * 0.2)
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    cosine, sine = np.float32(np.cos(look.angle)), np.float32(np.sin(look.angle))
    # both in periods, one along the pattern's direction and one across
    u = (x * cosine + y * sine) / np.float32(period) + np.float32(look.phase)
    if look.pattern == "striped":
        distance = 0.21 - np.abs(u - np.floor(u) - 0.5)
    else:
        v = (y * cosine - x * sine) / np.float32(period) + np.float32(look.phase)
        if look.pattern == "checked":
            return ((np.floor(u * 1.4) + np.floor(v * 1.4)) % 2).astype(np.float32)
        row = np.floor(v)
        # every other row moves by half a period, as on polka-dot cloth
        u = u + np.float32(0.5) * (row % 2)
        distance = 0.3 - np.sqrt((u - np.floor(u) - 0.5) ** 2 + (v - row - 0.5) ** 2)
    return np.clip(distance * period + 0.5, 0, 1)


def render(parts: list[Part], look: Look, scale: float) -> np.ndarray:
    """Draw the parts at `scale` pixels a unit: premultiplied RGBA (height, width, 4), uint8."""
    x0, y0, x1, y1 = extent(parts)
    rim = 2  # pixels around, for outlines
    width, height = (int(np.ceil((b - a) * scale)) + 2 * rim for a, b in ((x0, x1), (y0, y1)))
    zoom = scale * SUPERSAMPLING
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), dtype=np.uint8)
    offset = np.array([rim / scale - x0, rim / scale - y0])
    fills: dict[str, Colour] = {MAIN: look.colour, PLAIN_MAIN: look.colour, LIGHT: shade(look.colour, 1.45)}
    fills[DARK] = shade(look.colour, 0.74 if look.name != "black" else 1.22)
    side = float(np.sqrt((x1 - x0) * (y1 - y0))) * zoom
    pattern: np.ndarray | None = None
    for part in parts:
        colour = fills[part.fill] if isinstance(part.fill, str) else part.fill
        points = np.rint((part.points + offset) * zoom * (1 << _SHIFT)).astype(np.int32)
        ink = (*shade(colour, 0.52), 255)
        if part.stroke:
            thickness = max(2, round(part.stroke * zoom))
            cv2.polylines(canvas, [points], False, ink, thickness + 2, cv2.LINE_AA, _SHIFT)
            if thickness > 2:
                cv2.polylines(canvas, [points], False, (*colour, 255), thickness - 1, cv2.LINE_AA, _SHIFT)
            continue
        cv2.fillPoly(canvas, [points], (*colour, 255), cv2.LINE_AA, _SHIFT)
        if part.fill == MAIN and look.pattern != "plain":
            if pattern is None:
                pattern = _coverage(look, *canvas.shape[:2], side)
            _tint(canvas, points, pattern, NAMED[look.name][1])
        if part.outlined:
            cv2.polylines(canvas, [points], True, ink, 2, cv2.LINE_AA, _SHIFT)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _tint(canvas: np.ndarray, points: np.ndarray, pattern: np.ndarray, colour: Colour) -> None:
    """Blend `colour` into the polygon where the pattern is."""
    low = np.maximum((points.min(axis=0) >> _SHIFT) - 1, 0)
    high = (points.max(axis=0) >> _SHIFT) + 2
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    region = canvas[window]
    inside = np.zeros(region.shape[:2], dtype=np.uint8)
    cv2.fillPoly(inside, [points - (low << _SHIFT)], 255, cv2.LINE_AA, _SHIFT)
    share = (pattern[window] * (inside * np.float32(1 / 255)))[..., None]
    region[..., :3] = np.rint(region[..., :3] * (1 - share) + share * np.array(colour, dtype=np.float32))
