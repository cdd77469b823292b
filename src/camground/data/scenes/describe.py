"""Chooses what to say about which object of a scene, so that it means that object alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from camground.data.scenes import grammar
from camground.data.scenes.facts import EXTREMES, LANDMARKS, SIDES, Description, Facts

TRIES = 30  # descriptions drawn for one object and flavour before another object is taken


@dataclass(frozen=True)
class Expression:
    """Text, the object it means, its flavour, and what it says."""

    text: str
    item: int
    flavour: str
    said: Description


def _attributes(
    facts: Facts, target: int, rng: np.random.Generator, keep: tuple[float, float, float, float]
) -> Description:
    """Some true attributes; `keep`: probabilities of category, colour, pattern and size."""
    item = facts.items[target]
    drawn = rng.random(4)
    category = item.category if drawn[0] < keep[0] else None
    size = None
    if drawn[3] < keep[3]:
        named = Description(category=category)
        true = [
            size
            for size in ("small", "big", "smallest", "biggest")
            if target in facts.meaning(replace(named, size=size)).clear
        ]
        size = true[int(rng.integers(len(true)))] if true else None
    return Description(
        category=category,
        colour=item.colour if drawn[1] < keep[1] else None,
        pattern=item.pattern if drawn[2] < keep[2] else None,
        size=size,
    )


def _locations(facts: Facts, target: int, said: Description) -> list[tuple[str, ...]]:
    named = facts.meaning(replace(said, size=None)).clear
    true = [
        place
        for place in (*SIDES, *EXTREMES, "middle")
        if target in facts.placed(place, named).clear
    ]
    corners = [(v, h) for v in ("top", "bottom") for h in ("left", "right") if {v, h} <= set(true)]
    return [*((place,) for place in true), *corners]


def _landmark(facts: Facts, index: int, rng: np.random.Generator) -> Description | None:
    """A short description that means object `index` alone."""
    item = facts.items[index]
    options = [
        Description(category=item.category),
        Description(category=item.category, colour=item.colour),
        Description(category=item.category, pattern=item.pattern),
        Description(category=item.category, colour=item.colour, pattern=item.pattern),
    ]
    good = [said for said in options if facts.meaning(said).only == index]
    if not good:
        return None
    return good[0] if rng.random() < 0.5 else good[int(rng.integers(len(good)))]


def _relations(
    facts: Facts, target: int, rng: np.random.Generator
) -> tuple[tuple[str, tuple[Description, ...]], ...]:
    """One or two true relations to other objects, or none where no draw was true."""
    others = [i for i in range(len(facts.items)) if i != target]
    names = tuple(LANDMARKS)
    wanted = 1 if rng.random() < 0.75 else 2
    found: dict[str, tuple[Description, ...]] = {}
    for _ in range(12):
        name = names[int(rng.integers(len(names)))]
        if LANDMARKS[name] > len(others) or name in found:
            continue
        met = tuple(rng.permutation(others)[: LANDMARKS[name]].tolist())
        if target not in facts.related(name, met).clear:
            continue
        landmarks = [_landmark(facts, index, rng) for index in met]
        told = tuple(landmark for landmark in landmarks if landmark is not None)
        if len(told) == len(met):
            found[name] = told
        if len(found) == wanted:
            break
    return tuple(found.items())


def _draw(facts: Facts, target: int, flavour: str, rng: np.random.Generator) -> Description | None:
    if flavour == "ref":
        said = _attributes(facts, target, rng, (0.94, 0.45, 0.2, 0.15))
        places = _locations(facts, target, said) if rng.random() < 0.85 else []
        if places:
            said = replace(said, location=places[int(rng.integers(len(places)))])
        return said
    if flavour == "ref+":
        return _attributes(facts, target, rng, (0.92, 0.65, 0.5, 0.3))
    said = _attributes(facts, target, rng, (0.94, 0.5, 0.35, 0.2))
    relations = _relations(facts, target, rng)
    return replace(said, relations=relations) if relations else None


def _needless(facts: Facts, target: int, said: Description) -> bool:
    """Whether the description would mean the target alone without one of its parts."""
    silent: dict[str, object] = {
        "colour": None,
        "pattern": None,
        "size": None,
        "location": (),
        "relations": (),
    }
    return any(
        getattr(said, part) and facts.meaning(replace(said, **{part: silence})).only == target  # type: ignore[arg-type]
        for part, silence in silent.items()
    )


def _bare(said: Description) -> bool:
    """Whether nothing is said but the category (or not even that)."""
    return replace(said, category=None) == Description()


def describe(
    facts: Facts, target: int, flavour: str, rng: np.random.Generator
) -> Description | None:
    """What to say of object `target` in the flavour, or None. Short is preferred to needlessly long."""
    fallback: Description | None = None
    for _ in range(TRIES):
        said = _draw(facts, target, flavour, rng)
        if said is None or facts.meaning(said).only != target or _bare(said):
            continue
        if not _needless(facts, target, said) or rng.random() < 0.15:
            return said
        fallback = said
    return fallback


def expressions(
    facts: Facts, count: int, flavours: Sequence[str], rng: np.random.Generator
) -> list[Expression] | None:
    """`count` expressions of different texts, spread over flavours and objects; None if there are
    not so many. Objects with others of their category come first."""
    items = facts.items
    shared = [sum(other.category == item.category for other in items) > 1 for item in items]
    used = [0] * len(items)
    first = int(rng.integers(len(flavours)))
    made: list[Expression] = []
    texts: set[str] = set()
    for position in range(count):
        flavour = flavours[(first + position) % len(flavours)]
        order = sorted(
            rng.permutation(len(items)).tolist(), key=lambda i: used[i] - 0.5 * shared[i]
        )
        for target in (i for i in order for _ in range(2)):
            said = describe(facts, target, flavour, rng)
            if said is None:
                continue
            text = grammar.phrase(said, flavour, rng)
            if text not in texts:
                texts.add(text)
                used[target] += 1
                made.append(Expression(text, target, flavour, said))
                break
        else:
            return None
    return made
