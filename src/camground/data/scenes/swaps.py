"""One word of a referring expression changed, so that it no longer means its object.

A swap puts a word of another concept of the same class in the place of one word (or relation phrase)
and leaves the rest as it is. Words that have an opposite are swapped for it, so that the text alone
does not tell which of the two is true. Some swaps mean another object of the scene, others nothing at
all: only the latter are false of the image, which is decided by the scene's facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from camground.data.scenes.describe import Expression
from camground.data.scenes.facts import Description, Facts
from camground.data.scenes.grammar import WORDINGS

OPPOSITES = {
    "size": (("small", "big"), ("smallest", "biggest")),
    "location": (
        ("left", "right"),
        ("top", "bottom"),
        ("leftmost", "rightmost"),
        ("highest", "lowest"),
    ),
    "relation": (
        ("left_of", "right_of"),
        ("above", "below"),
        ("in_front_of", "behind"),
        ("bigger_than", "smaller_than"),
    ),
}
CLASSES = ("category", "colour", "pattern", "size", "location", "relation", "landmark")
SHARE_PRESENT = (
    0.7  # of swapped-in categories, colours and patterns that an object of the scene has
)


@dataclass(frozen=True)
class Swap:
    """The changed text, the class of the changed word (one of CLASSES; "landmark": the category or
    colour of the other object), and whether it is certain that it is false of the image."""

    text: str
    word_class: str
    false_of_image: bool


def _opposite(kind: str, concept: str) -> str | None:
    for one, other in OPPOSITES[kind]:
        if concept in (one, other):
            return other if concept == one else one
    return None


def _other(facts: Facts, kind: str, concept: str, rng: np.random.Generator) -> str:
    """Another concept of the class, mostly one of the scene's, or a word's mere absence would tell."""
    others = [name for name in WORDINGS[kind] if name != concept]
    present = {getattr(item, kind) for item in facts.items}
    seen = [name for name in others if name in present]
    if seen and rng.random() < SHARE_PRESENT:
        others = seen
    return others[int(rng.integers(len(others)))]


def _with(said: Description, kind: str, concept: str) -> Description:
    return replace(said, **{kind: concept})  # type: ignore[arg-type]


def _candidates(
    facts: Facts, said: Description, rng: np.random.Generator
) -> Iterator[tuple[str, str, str, str, Description]]:
    """(class, table of WORDINGS, old concept, new concept, new description) of every word said."""
    for kind in ("category", "colour", "pattern"):
        concept = getattr(said, kind)
        if concept:
            new = _other(facts, kind, concept, rng)
            yield kind, kind, concept, new, _with(said, kind, new)
    if said.size and (opposite := _opposite("size", said.size)):
        yield "size", "size", said.size, opposite, replace(said, size=opposite)
    for place in said.location:
        if opposite := _opposite("location", place):
            places = tuple(opposite if one == place else one for one in said.location)
            yield "location", "location", place, opposite, replace(said, location=places)
    for number, (name, landmarks) in enumerate(said.relations):
        before, after = said.relations[:number], said.relations[number + 1 :]
        if opposite := _opposite("relation", name):
            relations = (*before, (opposite, landmarks), *after)
            yield "relation", "relation", name, opposite, replace(said, relations=relations)
        for index, landmark in enumerate(landmarks):
            for kind in ("category", "colour"):
                concept = getattr(landmark, kind)
                if concept:
                    new = _other(facts, kind, concept, rng)
                    met = list(landmarks)
                    met[index] = _with(landmark, kind, new)
                    relations = (*before, (name, tuple(met)), *after)
                    yield "landmark", kind, concept, new, replace(said, relations=relations)


def replaced(text: str, table: str, old: str, new: str) -> str | None:
    """`text` with its one word of concept `old` changed to one of `new`; None unless there is just one.

    All wordings count, a pattern's nouns too, or a landmark's word would be taken for the object's. Longer
    ones are looked for first ("to the left of" before "left of"). An article before the word follows it.
    """
    wordings = WORDINGS[table][old]
    nouns = WORDINGS["pattern_noun"].get(old, ()) if table == "pattern" else ()
    either = "|".join(map(re.escape, sorted((*wordings, *nouns), key=len, reverse=True)))
    found = list(re.finditer(rf"(?<![\w-])(?:{either})(?![\w-])", text))
    if len(found) != 1 or found[0].group() in nouns:
        return None
    number = wordings.index(found[0].group())
    options = WORDINGS[table][new]
    word = options[number] if number < len(options) else options[0]
    start, stop = found[0].span()
    before = text[:start]
    article = re.search(r"(^| )an? $", before)
    if article:
        before = before[: article.start()] + article.group(1)
        before += "an " if word[0] in "aeiou" else "a "
    return before + word + text[stop:]


def is_false(facts: Facts, said: Description) -> bool:
    """Whether nothing in the scene could possibly be meant, by any reading of its words."""
    if not facts.meaning(replace(said, relations=())).possible:
        return True
    landmarks = [landmark for _, met in said.relations for landmark in met]
    meant = [facts.meaning(landmark) for landmark in landmarks]
    if any(not one.possible for one in meant):
        return True
    # a landmark of which there are several leaves open what the relation says
    return all(one.only is not None for one in meant) and not facts.meaning(said).possible


def swaps(facts: Facts, expression: Expression, count: int, rng: np.random.Generator) -> list[Swap]:
    """At most `count` swaps of one expression, of different classes where there are so many.

    A swapped landmark may leave the object the same, so it is taken only where it is false of the image.
    """
    found: dict[str, list[Swap]] = {}
    for kind, table, old, new, said in _candidates(facts, expression.said, rng):
        text = replaced(expression.text, table, old, new)
        false = is_false(facts, said)
        if text is not None and (false or kind != "landmark"):
            found.setdefault(kind, []).append(Swap(text, kind, false))
    chosen: list[Swap] = []
    # place, size and relation are said less often than the rest and are harder to learn: they go first
    kinds = rng.permutation(np.array(sorted(found), dtype=object)).tolist()
    kinds.sort(key=lambda kind: kind not in OPPOSITES)
    while len(chosen) < count and any(found.values()):
        for kind in kinds:
            if found[kind] and len(chosen) < count:
                options = found[kind]
                chosen.append(options.pop(int(rng.integers(len(options)))))
    return chosen
