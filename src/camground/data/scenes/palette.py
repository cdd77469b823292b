"""Colours of the scenes: the named ones that expressions use, their shades, and fixed ones."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]  # RGB, 0 to 255

COLOURS: dict[str, Colour] = {
    "red": (222, 62, 58),
    "orange": (243, 143, 42),
    "yellow": (250, 210, 62),
    "green": (66, 162, 84),
    "blue": (52, 118, 214),
    "purple": (138, 82, 186),
    "pink": (246, 140, 184),
    "brown": (138, 90, 56),
    "white": (248, 246, 240),
    "grey": (140, 146, 154),
    "black": (54, 55, 66),
}
PATTERNS = ("plain", "striped", "dotted", "checked")

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

# What a pattern is drawn with: light on most colours, dark on the light ones, so it stays visible
# and the named colour keeps the larger share.
_SECOND: dict[str, Colour] = {
    "red": (255, 222, 206),
    "orange": (255, 236, 196),
    "yellow": (206, 146, 26),
    "green": (206, 240, 190),
    "blue": (204, 230, 255),
    "purple": (232, 210, 250),
    "pink": (255, 236, 244),
    "brown": (226, 190, 146),
    "white": (190, 192, 206),
    "grey": (214, 220, 228),
    "black": (134, 136, 154),
}


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` towards black (factor below 1) or towards white (above 1; 2 is white)."""
    value = np.asarray(colour, dtype=np.float64)
    value = value * factor if factor <= 1 else value + (255 - value) * (factor - 1)
    red, green, blue = np.clip(np.rint(value), 0, 255).astype(int).tolist()
    return red, green, blue


def second(name: str) -> Colour:
    """The colour that patterns on the named colour are drawn with."""
    return _SECOND[name]


def jittered(name: str, rng: np.random.Generator) -> Colour:
    """The named colour, a little lighter or darker."""
    return shade(COLOURS[name], float(rng.uniform(0.94, 1.06)))
