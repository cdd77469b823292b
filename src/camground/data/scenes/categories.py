"""The categories of the scenes: each a function from random proportions to a list of parts.

Every object has several clearly different parts, so that a map that fires on the most telling one
(a roof, a sail, a wheel) covers much less than the object. Units as in `parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camground.data.scenes import artefacts, living_things
from camground.data.scenes.parts import Part

Draw = Callable[[np.random.Generator], list[Part]]


@dataclass(frozen=True)
class Category:
    """How a category is drawn; `flies`: may hang in the air, without a shadow below it; `sided`: may be
    mirrored left to right."""

    draw: Draw
    flies: bool = False
    sided: bool = False


CATEGORIES: dict[str, Category] = {
    "house": Category(artefacts.house),
    "car": Category(artefacts.car, sided=True),
    "tree": Category(living_things.tree),
    "boat": Category(artefacts.boat, sided=True),
    "flower": Category(living_things.flower),
    "fish": Category(living_things.fish, flies=True, sided=True),
    "cup": Category(artefacts.cup, sided=True),
    "lamp": Category(artefacts.lamp),
    "umbrella": Category(artefacts.umbrella),
    "rocket": Category(artefacts.rocket, flies=True),
    "mushroom": Category(living_things.mushroom),
    "snowman": Category(living_things.snowman, sided=True),
    "balloon": Category(artefacts.balloon, flies=True),
    "guitar": Category(artefacts.guitar),
    "bird": Category(living_things.bird, sided=True),
    "butterfly": Category(living_things.butterfly, flies=True),
    "robot": Category(artefacts.robot),
    "snail": Category(living_things.snail, sided=True),
    "teapot": Category(artefacts.teapot, sided=True),
    "kite": Category(artefacts.kite, flies=True, sided=True),
}
