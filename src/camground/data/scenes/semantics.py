"""Which objects of a scene a description means, with room for doubt.

A predicate gives two sets of objects: those for which it clearly holds, and those for which it possibly
holds (a person could argue). An expression is unambiguous if its object is the only one that it clearly
means and no other is even possible. Places and sizes come from the boxes of what is seen, in shares of
the image's side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

SIZE_RATIO = 1.5  # areas: what makes a category's objects fall into small and big ones
SIDES = ("left", "right", "top", "bottom")
EXTREMES = ("leftmost", "rightmost", "highest", "lowest")


@dataclass(frozen=True)
class SceneObject:
    """One object; `box` xyxy in shares of the image's side."""

    category: str
    colour: str
    pattern: str
    box: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class Referents:
    """Indices of the objects that are clearly and possibly meant; `clear` is within `possible`."""

    clear: frozenset[int]
    possible: frozenset[int]

    @classmethod
    def of(cls, clear: Iterable[int], possible: Iterable[int]) -> Referents:
        return cls(frozenset(clear), frozenset(possible))

    @classmethod
    def by_degree(cls, degrees: Iterable[int]) -> Referents:
        """From a degree for each object: 2 clearly, 1 possibly, 0 not."""
        listed = list(enumerate(degrees))
        return cls.of((i for i, degree in listed if degree == 2), (i for i, degree in listed if degree))

    def __and__(self, other: Referents) -> Referents:
        return Referents(self.clear & other.clear, self.possible & other.possible)

    @property
    def only(self) -> int | None:
        """The one object meant, if there is no doubt."""
        if self.clear == self.possible and len(self.clear) == 1:
            return next(iter(self.clear))
        return None


@dataclass(frozen=True)
class Description:
    """The content of an expression. None or () is silence; no category is "thing".

    size: small, big, smallest, biggest; location: one or two of SIDES, ("middle",) or one of
    EXTREMES; relations: (name, landmarks) where a landmark is a Description without relations.
    """

    category: str | None = None
    colour: str | None = None
    pattern: str | None = None
    size: str | None = None
    location: tuple[str, ...] = ()
    relations: tuple[tuple[str, tuple[Description, ...]], ...] = ()

    def but(self, **parts: Any) -> Description:
        """The same with some parts changed."""
        return replace(self, **parts)

    def fits(self, candidate: SceneObject) -> bool:
        """Whether category, colour and pattern are the object's, as far as they are named."""
        return (
            self.category in (None, candidate.category)
            and self.colour in (None, candidate.colour)
            and self.pattern in (None, candidate.pattern)
        )


@dataclass
class SceneSemantics:
    """The predicates of one scene. `hides` (n, n): share of object j that object i covers."""

    objects: list[SceneObject]
    hides: np.ndarray
    _related: dict[tuple[str, tuple[int, ...]], Referents] = field(default_factory=dict)

    def meaning(self, description: Description) -> Referents:
        """The objects that the description clearly and possibly means."""
        named = frozenset(i for i, each in enumerate(self.objects) if description.fits(each))
        referents = Referents(named, named)
        if description.size in ("smallest", "biggest"):
            referents &= self._extreme_size(named, description.size == "biggest")
        elif description.size:
            referents &= self.sized(description.size, description.category)
        for location in description.location:
            referents &= self.located(location, named)
        for name, landmarks in description.relations:
            meant = [self.meaning(landmark).only for landmark in landmarks]
            indices = tuple(index for index in meant if index is not None)
            if len(indices) < len(meant):
                return Referents.of((), named)
            referents &= self.related(name, indices)
        return referents

    def sized(self, size: str, category: str | None) -> Referents:
        """Small or big among the category's objects, parted at the widest ratio of their areas."""
        group = [i for i, each in enumerate(self.objects) if category in (None, each.category)]
        group.sort(key=lambda i: self.objects[i].area)
        ratios = [self.objects[b].area / self.objects[a].area for a, b in pairwise(group)]
        if not ratios or max(ratios) < SIZE_RATIO:
            return Referents.of((), group)
        cut = ratios.index(max(ratios)) + 1
        chosen = group[:cut] if size == "small" else group[cut:]
        return Referents.of(chosen, chosen)

    def _extreme_size(self, named: frozenset[int], biggest: bool, margin: float = 1.3) -> Referents:
        """The one of `named` with the largest or smallest area, by a factor."""
        areas = {i: self.objects[i].area for i in named}
        low, high = min(areas.values(), default=0.0), max(areas.values(), default=0.0)
        near = [i for i in named if (areas[i] * margin > high if biggest else areas[i] < low * margin)]
        return _only_clear(near, named)

    def located(self, location: str, named: frozenset[int]) -> Referents:
        """At a place of the image; for one of EXTREMES, further than all others of `named`."""
        centres = [each.centre for each in self.objects]
        if location == "middle":
            off = [max(abs(x - 0.5), abs(y - 0.5)) for x, y in centres]
            return Referents.by_degree((distance < 0.13) + (distance < 0.26) for distance in off)
        axis = 0 if location in ("left", "right", "leftmost", "rightmost") else 1
        far = location in ("right", "bottom", "rightmost", "lowest")
        along = [1 - centre[axis] if far else centre[axis] for centre in centres]
        if location in SIDES:
            return Referents.by_degree((distance < 0.4) + (distance < 0.5) for distance in along)
        limit = min((along[i] for i in named), default=0.0) + 0.09
        return _only_clear([i for i in named if along[i] < limit], named)

    def related(self, name: str, landmarks: tuple[int, ...]) -> Referents:
        """Objects that stand in relation `name` to the landmarks, which are not among them."""
        if (name, landmarks) not in self._related:
            degree = RELATIONS[name]
            self._related[name, landmarks] = Referents.by_degree(
                0 if i in landmarks else degree(self, i, *landmarks) for i in range(len(self.objects))
            )
        return self._related[name, landmarks]

    def gap(self, a: int, b: int) -> float:
        """Distance between two boxes; 0 where they touch."""
        first, second = self.objects[a].box, self.objects[b].box
        dx = max(first[0] - second[2], second[0] - first[2], 0.0)
        dy = max(first[1] - second[3], second[1] - first[3], 0.0)
        return float(np.hypot(dx, dy))


def _only_clear(near: list[int], named: frozenset[int]) -> Referents:
    """A superlative: clear where one object is near the extreme, and of several that are named."""
    if len(named) < 2:
        return Referents.of((), named)
    return Referents.of(near if len(near) == 1 else (), near)


Degree = Callable[..., int]  # of a relation, as in `Referents.by_degree`


def _beside(axis: int, sign: int, scene: SceneSemantics, a: int, b: int) -> int:
    offset = np.subtract(scene.objects[b].centre, scene.objects[a].centre) * sign
    along, across = float(offset[axis]), abs(float(offset[1 - axis]))
    return (along > 0.13 and across < 1.1 * along) + (along > 0.02)


def _near(scene: SceneSemantics, a: int, b: int) -> int:
    gap = scene.gap(a, b)
    return (gap < 0.05) + (gap < 0.17)


def _between(scene: SceneSemantics, a: int, b: int, c: int) -> int:
    start, stop, at = (np.array(scene.objects[i].centre) for i in (b, c, a))
    along = stop - start
    length = float(np.hypot(*along))
    if length < 0.3:
        return 1
    share = float((at - start) @ along) / length**2
    off = abs(float(along[0] * (at - start)[1] - along[1] * (at - start)[0])) / length**2
    return (0.25 < share < 0.75 and off < 0.22) + (0.02 < share < 0.98 and off < 0.5)


def _in_front(scene: SceneSemantics, near: int, far: int) -> int:
    # no overlap, but close and lower could be called in front
    return 2 if scene.hides[near, far] > 0.03 else int(scene.gap(near, far) < 0.06)


def _bigger(more: bool, scene: SceneSemantics, a: int, b: int) -> int:
    ratio = scene.objects[a].area / scene.objects[b].area
    ratio = ratio if more else 1 / ratio
    return (ratio > 1.6) + (ratio > 1.0)


RELATIONS: dict[str, Degree] = {
    "left_of": partial(_beside, 0, 1),
    "right_of": partial(_beside, 0, -1),
    "above": partial(_beside, 1, 1),
    "below": partial(_beside, 1, -1),
    "next_to": _near,
    "between": _between,
    "in_front_of": _in_front,
    "behind": lambda scene, far, near: _in_front(scene, near, far),
    "bigger_than": partial(_bigger, True),
    "smaller_than": partial(_bigger, False),
    "same_colour_as": lambda scene, a, b: 2 * (scene.objects[a].colour == scene.objects[b].colour),
}
LANDMARKS = {name: 2 if name == "between" else 1 for name in RELATIONS}
