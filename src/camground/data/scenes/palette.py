"""Colours of the scenes: the named ones that expressions use, their shades, and fixed ones."""

from __future__ import annotations

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


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` towards black (factor below 1) or towards white (above 1; 2 is white)."""
    value = np.asarray(colour, dtype=np.float64)
    value = value * factor if factor <= 1 else value + (255 - value) * (factor - 1)
    red, green, blue = np.clip(np.rint(value), 0, 255).astype(int).tolist()
    return red, green, blue
