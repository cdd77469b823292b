"""The categories of the scenes: each a function from random proportions to a list of parts.

Every object has several clearly different parts, so that a map that fires on the most telling one
(a roof, a sail, a wheel) covers much less than the object. Units as in `parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camground.data.scenes import grown_shapes, made_shapes
from camground.data.scenes.parts import Part

Draw = Callable[[np.random.Generator], list[Part]]


@dataclass(frozen=True)
class Kind:
    """How a category is drawn; `flies`: may hang in the air, without a shadow below it."""

    draw: Draw
    flies: bool = False
    sided: bool = False


KINDS: dict[str, Kind] = {
    "house": Kind(made_shapes.house),
    "car": Kind(made_shapes.car, sided=True),
    "tree": Kind(grown_shapes.tree),
    "boat": Kind(made_shapes.boat, sided=True),
    "flower": Kind(grown_shapes.flower),
    "fish": Kind(grown_shapes.fish, flies=True, sided=True),
    "cup": Kind(made_shapes.cup, sided=True),
    "lamp": Kind(made_shapes.lamp),
    "umbrella": Kind(made_shapes.umbrella),
    "rocket": Kind(made_shapes.rocket, flies=True),
    "mushroom": Kind(grown_shapes.mushroom),
    "snowman": Kind(grown_shapes.snowman, sided=True),
    "balloon": Kind(made_shapes.balloon, flies=True),
    "guitar": Kind(made_shapes.guitar),
    "bird": Kind(grown_shapes.bird, sided=True),
    "butterfly": Kind(grown_shapes.butterfly, flies=True),
    "robot": Kind(made_shapes.robot),
    "snail": Kind(grown_shapes.snail, sided=True),
    "teapot": Kind(made_shapes.teapot, sided=True),
    "kite": Kind(made_shapes.kite, flies=True, sided=True),
}
