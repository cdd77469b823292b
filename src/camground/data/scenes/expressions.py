"""Referring expressions of a scene: each a description that means one object alone, put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from camground.data.scenes import grammar
from camground.data.scenes.semantics import EXTREMES, LANDMARKS, SIDES, Description, SceneSemantics

# Probabilities that category, colour, pattern and size are named, by flavour.
KEEP = {"ref": (0.94, 0.45, 0.2, 0.15), "ref+": (0.92, 0.65, 0.5, 0.3), "refg": (0.94, 0.5, 0.35, 0.2)}
SIZES = ("small", "big", "smallest", "biggest")
TRIES = 30  # descriptions drawn for one object and flavour before another object is taken


@dataclass(frozen=True)
class Expression:
    """Text, the index of the object that it means, its flavour, and its content."""

    text: str
    target: int
    flavour: str
    description: Description


def _attributes(scene: SceneSemantics, target: int, rng: Generator, keep: tuple[float, ...]) -> Description:
    """Some true attributes; `keep`: one of KEEP."""
    own = scene.objects[target]
    drawn = rng.random(4)
    category = own.category if drawn[0] < keep[0] else None
    colour = own.colour if drawn[1] < keep[1] else None
    pattern = own.pattern if drawn[2] < keep[2] else None
    size = None
    if drawn[3] < keep[3]:
        sizes = {name: Description(category=category, size=name) for name in SIZES}
        true = [name for name, sized in sizes.items() if target in scene.meaning(sized).clear]
        size = true[int(rng.integers(len(true)))] if true else None
    return Description(category, colour, pattern, size)


def _locations(scene: SceneSemantics, target: int, description: Description) -> list[tuple[str, ...]]:
    """The true locations of the target, of one word or two."""
    named = scene.meaning(description.but(size=None)).clear
    true = [
        location
        for location in (*SIDES, *EXTREMES, "middle")
        if target in scene.located(location, named).clear
    ]
    corners = [(v, h) for v in ("top", "bottom") for h in ("left", "right") if {v, h} <= set(true)]
    return [*((location,) for location in true), *corners]


def _landmark(scene: SceneSemantics, index: int, rng: Generator) -> Description | None:
    """A short description that means object `index` alone."""
    own = scene.objects[index]
    kinds = ((own.category,), (own.category, own.colour), (own.category, None, own.pattern))
    options = [Description(*kind) for kind in (*kinds, (own.category, own.colour, own.pattern))]
    unambiguous = [option for option in options if scene.meaning(option).only == index]
    if not unambiguous:
        return None
    return unambiguous[0] if rng.random() < 0.5 else unambiguous[int(rng.integers(len(unambiguous)))]


def _relations(
    scene: SceneSemantics, target: int, rng: Generator
) -> tuple[tuple[str, tuple[Description, ...]], ...]:
    """One or two true relations to other objects, or none where no draw was true."""
    others = [i for i in range(len(scene.objects)) if i != target]
    names = tuple(LANDMARKS)
    count = 1 if rng.random() < 0.75 else 2
    relations: dict[str, tuple[Description, ...]] = {}
    for _ in range(12):
        name = names[int(rng.integers(len(names)))]
        if LANDMARKS[name] > len(others) or name in relations:
            continue
        indices = tuple(rng.permutation(others)[: LANDMARKS[name]].tolist())
        if target not in scene.related(name, indices).clear:
            continue
        drawn = [_landmark(scene, index, rng) for index in indices]
        landmarks = tuple(landmark for landmark in drawn if landmark is not None)
        if len(landmarks) == len(indices):
            relations[name] = landmarks
        if len(relations) == count:
            break
    return tuple(relations.items())


def _draw(scene: SceneSemantics, target: int, flavour: str, rng: Generator) -> Description | None:
    description = _attributes(scene, target, rng, KEEP[flavour])
    if flavour == "ref" and rng.random() < 0.85:
        if locations := _locations(scene, target, description):
            return description.but(location=locations[int(rng.integers(len(locations)))])
    elif flavour == "refg":
        relations = _relations(scene, target, rng)
        return description.but(relations=relations) if relations else None
    return description


def _has_needless_part(scene: SceneSemantics, target: int, description: Description) -> bool:
    """Whether the description would mean the target alone without one of its parts."""
    silence: dict[str, Any] = {"colour": None, "pattern": None, "size": None, "location": (), "relations": ()}
    return any(
        getattr(description, part) and scene.meaning(description.but(**{part: silent})).only == target
        for part, silent in silence.items()
    )


def describe(scene: SceneSemantics, target: int, flavour: str, rng: Generator) -> Description | None:
    """A description of object `target` in the flavour, or None. Short is preferred to needlessly long."""
    fallback: Description | None = None
    for _ in range(TRIES):
        description = _draw(scene, target, flavour, rng)
        if description is None or scene.meaning(description).only != target:
            continue
        if description.but(category=None) == Description():
            continue  # nothing but the category, or not even that
        if not _has_needless_part(scene, target, description) or rng.random() < 0.15:
            return description
        fallback = description
    return fallback


def draw_expressions(
    scene: SceneSemantics, count: int, flavours: Sequence[str], rng: Generator
) -> list[Expression] | None:
    """`count` expressions of different texts, spread over flavours and objects; None if there are
    not so many. Objects with others of their category come first."""
    categories = [each.category for each in scene.objects]
    shared = [categories.count(category) > 1 for category in categories]
    used = [0] * len(categories)
    first = int(rng.integers(len(flavours)))
    expressions: list[Expression] = []
    texts: set[str] = set()
    for number in range(count):
        flavour = flavours[(first + number) % len(flavours)]
        order = sorted(rng.permutation(len(categories)).tolist(), key=lambda i: used[i] - 0.5 * shared[i])
        for target in (i for i in order for _ in range(2)):
            description = describe(scene, target, flavour, rng)
            if description is None:
                continue
            text = grammar.phrase(description, flavour, rng)
            if text not in texts:
                texts.add(text)
                used[target] += 1
                expressions.append(Expression(text, target, flavour, description))
                break
        else:
            return None
    return expressions
