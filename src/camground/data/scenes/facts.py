"""What is true of the objects of a scene, with room for doubt.

A predicate gives two sets of objects: those it clearly holds for, and those it possibly holds for (a
person could argue). An expression is unambiguous if its object is the only one that it clearly means
and no other is even possible. Places and sizes come from the boxes of what is seen, in shares of the
image's side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

SIZE_RATIO = 1.5  # areas: what makes a category's objects fall into small and big ones
SIDES = ("left", "right", "top", "bottom")
EXTREMES = ("leftmost", "rightmost", "highest", "lowest")


@dataclass(frozen=True)
class Item:
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
class Sets:
    """Indices of the objects a predicate clearly and possibly holds for; clear is within possible."""

    clear: frozenset[int]
    possible: frozenset[int]

    def __and__(self, other: Sets) -> Sets:
        return Sets(self.clear & other.clear, self.possible & other.possible)

    @property
    def only(self) -> int | None:
        """The one object meant, if there is no doubt."""
        return (
            next(iter(self.clear)) if self.clear == self.possible and len(self.clear) == 1 else None
        )


@dataclass(frozen=True)
class Description:
    """What an expression says. None or () is silence; no category is "thing".

    size: small, big, smallest, biggest; location: one or two of SIDES, ("middle",) or one of
    EXTREMES; relations: (name, landmarks) where a landmark is a Description without relations.
    """

    category: str | None = None
    colour: str | None = None
    pattern: str | None = None
    size: str | None = None
    location: tuple[str, ...] = ()
    relations: tuple[tuple[str, tuple[Description, ...]], ...] = ()


def _sets(clear: Iterable[int], possible: Iterable[int]) -> Sets:
    return Sets(frozenset(clear), frozenset(possible))


@dataclass
class Facts:
    """The predicates of one scene. `hides` (n, n): share of object j that object i covers."""

    items: list[Item]
    hides: np.ndarray
    _related: dict[tuple[str, tuple[int, ...]], Sets] = field(default_factory=dict)

    def meaning(self, said: Description) -> Sets:
        """The objects that `said` clearly and possibly means."""
        indices = range(len(self.items))
        named = frozenset(
            i
            for i in indices
            if said.category in (None, self.items[i].category)
            and said.colour in (None, self.items[i].colour)
            and said.pattern in (None, self.items[i].pattern)
        )
        result = Sets(named, named)
        if said.size in ("smallest", "biggest"):
            result &= self._extreme(
                named, lambda i: self.items[i].area, said.size == "biggest", 1.3
            )
        elif said.size:
            result &= self.sized(said.size, said.category)
        for place in said.location:
            result &= self.placed(place, named)
        for name, landmarks in said.relations:
            met = [self.meaning(landmark).only for landmark in landmarks]
            if any(one is None for one in met):
                return _sets((), named)
            result &= self.related(name, tuple(one for one in met if one is not None))
        return result

    def sized(self, size: str, category: str | None) -> Sets:
        """Small or big among the category's objects, parted at the widest ratio of their areas."""
        group = [i for i, item in enumerate(self.items) if category in (None, item.category)]
        group.sort(key=lambda i: self.items[i].area)
        ratios = [self.items[b].area / self.items[a].area for a, b in pairwise(group)]
        if not ratios or max(ratios) < SIZE_RATIO:
            return _sets((), group)
        cut = ratios.index(max(ratios)) + 1
        chosen = group[:cut] if size == "small" else group[cut:]
        return _sets(chosen, chosen)

    def _extreme(
        self, named: frozenset[int], value: Callable[[int], float], most: bool, margin: float
    ) -> Sets:
        """The one of `named` with the largest or smallest positive value, by a factor."""
        if len(named) < 2:
            return _sets((), named)
        ranked = sorted(named, key=value, reverse=most)
        best = value(ranked[0])
        near = [
            i for i in ranked if (value(i) * margin > best if most else value(i) < best * margin)
        ]
        return _sets(near if len(near) == 1 else (), near)

    def placed(self, place: str, named: frozenset[int]) -> Sets:
        """At a place of the image; for one of EXTREMES, further than all others of `named`."""
        centres = [item.centre for item in self.items]
        indices = range(len(centres))
        if place == "middle":
            off = [max(abs(x - 0.5), abs(y - 0.5)) for x, y in centres]
            return _sets(
                (i for i in indices if off[i] < 0.13), (i for i in indices if off[i] < 0.26)
            )
        axis = 0 if place in ("left", "right", "leftmost", "rightmost") else 1
        far = place in ("right", "bottom", "rightmost", "lowest")
        along = [1 - centre[axis] if far else centre[axis] for centre in centres]
        if place in SIDES:
            return _sets(
                (i for i in indices if along[i] < 0.4), (i for i in indices if along[i] < 0.5)
            )
        if len(named) < 2:
            return _sets((), named)
        best = min(along[i] for i in named)
        near = [i for i in named if along[i] < best + 0.09]
        return _sets(near if len(near) == 1 else (), near)

    def related(self, name: str, landmarks: tuple[int, ...]) -> Sets:
        """Objects that stand in relation `name` to the landmarks, which are not among them."""
        key = (name, landmarks)
        if key not in self._related:
            degrees = {
                i: RELATIONS[name](self, i, *landmarks)
                for i in range(len(self.items))
                if i not in landmarks
            }
            self._related[key] = _sets(
                (i for i, degree in degrees.items() if degree == 2),
                (i for i, degree in degrees.items() if degree >= 1),
            )
        return self._related[key]

    def gap(self, a: int, b: int) -> float:
        """Distance between two boxes; 0 where they touch."""
        one, two = self.items[a].box, self.items[b].box
        dx = max(one[0] - two[2], two[0] - one[2], 0.0)
        dy = max(one[1] - two[3], two[1] - one[3], 0.0)
        return float(np.hypot(dx, dy))


# Each relation gives a degree: 2 clearly, 1 possibly, 0 not.
Degree = Callable[..., int]


def _beside(axis: int, sign: int) -> Degree:
    def degree(facts: Facts, a: int, b: int) -> int:
        offset = np.subtract(facts.items[b].centre, facts.items[a].centre) * sign
        along, across = float(offset[axis]), abs(float(offset[1 - axis]))
        if along > 0.13 and across < 1.1 * along:
            return 2
        return 1 if along > 0.02 else 0

    return degree


def _near(facts: Facts, a: int, b: int) -> int:
    gap = facts.gap(a, b)
    return 2 if gap < 0.05 else 1 if gap < 0.17 else 0


def _between(facts: Facts, a: int, b: int, c: int) -> int:
    start, stop, at = (np.array(facts.items[i].centre) for i in (b, c, a))
    along = stop - start
    length = float(np.hypot(*along))
    if length < 0.3:
        return 1
    share = float((at - start) @ along) / length**2
    off = abs(float(along[0] * (at - start)[1] - along[1] * (at - start)[0])) / length**2
    if 0.25 < share < 0.75 and off < 0.22:
        return 2
    return 1 if 0.02 < share < 0.98 and off < 0.5 else 0


def _hiding(near_first: bool) -> Degree:
    def degree(facts: Facts, a: int, b: int) -> int:
        near, far = (a, b) if near_first else (b, a)
        if facts.hides[near, far] > 0.03:
            return 2
        # no overlap, but close and lower could be called in front
        return 1 if facts.gap(a, b) < 0.06 else 0

    return degree


def _compared(more: bool) -> Degree:
    def degree(facts: Facts, a: int, b: int) -> int:
        ratio = facts.items[a].area / facts.items[b].area
        ratio = ratio if more else 1 / ratio
        return 2 if ratio > 1.6 else 1 if ratio > 1.0 else 0

    return degree


def _same_colour(facts: Facts, a: int, b: int) -> int:
    return 2 if facts.items[a].colour == facts.items[b].colour else 0


RELATIONS: dict[str, Degree] = {
    "left_of": _beside(0, 1),
    "right_of": _beside(0, -1),
    "above": _beside(1, 1),
    "below": _beside(1, -1),
    "next_to": _near,
    "between": _between,
    "in_front_of": _hiding(True),
    "behind": _hiding(False),
    "bigger_than": _compared(True),
    "smaller_than": _compared(False),
    "same_colour_as": _same_colour,
}
LANDMARKS = {name: 2 if name == "between" else 1 for name in RELATIONS}
