"""One word of a referring expression changed, so that it no longer means its object.

A swap puts a word of another concept of the same class in the place of one word (or relation phrase)
and leaves the rest as it is. Words that have an opposite are swapped for it. New words are drawn so that
each is swapped in about as often as it is swapped out: the text alone does not tell which of the two is
true. Some swaps mean another object of the scene, others nothing at
all: only the latter are false of the image, which the scene's semantics decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from camground.data.scenes.expressions import Expression
from camground.data.scenes.grammar import WORDINGS, wordings
from camground.data.scenes.grammar import word as draw_word
from camground.data.scenes.layout import PATTERN_SHARES
from camground.data.scenes.parts import PATTERNS
from camground.data.scenes.semantics import Description, SceneSemantics

OPPOSITES = {
    "size": tuple(wordings("small big, smallest biggest").values()),
    "location": tuple(wordings("left right, top bottom, leftmost rightmost, highest lowest").values()),
    "relation": tuple(
        wordings("left_of right_of, above below, in_front_of behind, bigger_than smaller_than").values()
    ),
}
CLASSES = ("category", "colour", "pattern", "size", "location", "relation", "landmark")
# of swapped-in categories, colours and patterns, how many an object of the scene has
SHARE_PRESENT = 0.7
# how often a pattern is worn; other categories and colours are equally frequent
SHARES = {"pattern": dict(zip(PATTERNS, PATTERN_SHARES, strict=True))}
# Of the false swaps away from a word, how many are kept. Most scenes have something plain, so "plain" put in
# is seldom false: a text with it would be true more often than not.
KEPT = {"plain": 0.58}


@dataclass(frozen=True)
class WordSwap:
    """The changed text, the class of the changed word (one of CLASSES; "landmark": the category or
    colour of the other object), and whether it is certain that it is false of the image."""

    text: str
    word_class: str
    false_of_image: bool


@dataclass(frozen=True)
class _Change:
    """A concept to change: its class, its table of WORDINGS, and the description with the new one."""

    word_class: str
    table: str
    old: str
    new: str
    description: Description


def _opposite(word_class: str, concept: str) -> str | None:
    return next((pair[1 - pair.index(concept)] for pair in OPPOSITES[word_class] if concept in pair), None)


def _other(scene: SceneSemantics, attribute: str, concept: str, rng: Generator) -> str:
    """Another concept of the class, mostly one of the scene's, or a word's mere absence would tell."""
    others = [name for name in WORDINGS[attribute] if name != concept]
    present = {getattr(each, attribute) for each in scene.objects}
    in_scene = [name for name in others if name in present]
    if in_scene and rng.random() < SHARE_PRESENT:
        others = in_scene
    shares = SHARES.get(attribute, {})
    bounds = np.cumsum([shares.get(name, 1.0) for name in others])
    return others[int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))]


def _changes(scene: SceneSemantics, description: Description, rng: Generator) -> Iterator[_Change]:
    """Every change of one concept of the description."""
    for attribute in ("category", "colour", "pattern"):
        if concept := getattr(description, attribute):
            new = _other(scene, attribute, concept, rng)
            yield _Change(attribute, attribute, concept, new, description.but(**{attribute: new}))
    size = description.size
    if size and (opposite := _opposite("size", size)):
        yield _Change("size", "size", size, opposite, description.but(size=opposite))
    for side in description.location:
        if opposite := _opposite("location", side):
            location = tuple(opposite if name == side else name for name in description.location)
            yield _Change("location", "location", side, opposite, description.but(location=location))
    for number, (name, landmarks) in enumerate(description.relations):
        before, after = description.relations[:number], description.relations[number + 1 :]
        if opposite := _opposite("relation", name):
            relations = (*before, (opposite, landmarks), *after)
            yield _Change("relation", "relation", name, opposite, description.but(relations=relations))
        for index, landmark in enumerate(landmarks):
            for attribute in ("category", "colour"):
                if concept := getattr(landmark, attribute):
                    new = _other(scene, attribute, concept, rng)
                    renamed = list(landmarks)
                    renamed[index] = landmark.but(**{attribute: new})
                    relations = (*before, (name, tuple(renamed)), *after)
                    yield _Change("landmark", attribute, concept, new, description.but(relations=relations))


def replaced(text: str, table: str, old: str, new: str, rng: Generator) -> str | None:
    """`text` with its one word of concept `old` changed to one of `new`; None unless there is just one.

    All wordings count, a pattern's nouns too, or a landmark's word would be taken for the object's. Longer
    ones are tried first ("to the left of" before "left of"). The new concept's wording is the one of the same
    number where both have as many, and else drawn as for a true expression: a wording that is never swapped
    in would tell that the text is true. An article before the word follows it.
    """
    wordings = WORDINGS[table][old]
    nouns = WORDINGS["pattern_noun"].get(old, ()) if table == "pattern" else ()
    either = "|".join(map(re.escape, sorted((*wordings, *nouns), key=len, reverse=True)))
    matches = list(re.finditer(rf"(?<![\w-])(?:{either})(?![\w-])", text))
    if len(matches) != 1 or matches[0].group() in nouns:
        return None
    options = WORDINGS[table][new]
    same = len(options) == len(wordings)
    word = options[wordings.index(matches[0].group())] if same else draw_word(table, new, rng)
    start, stop = matches[0].span()
    article = "an " if word[0] in "aeiou" else "a "
    return re.sub(r"(^| )an? $", rf"\1{article}", text[:start]) + word + text[stop:]


def is_false(scene: SceneSemantics, description: Description) -> bool:
    """Whether nothing in the scene could possibly be meant, by any reading of the words."""
    if not scene.meaning(description.but(relations=())).possible:
        return True
    landmarks = [landmark for _, named in description.relations for landmark in named]
    meanings = [scene.meaning(landmark) for landmark in landmarks]
    if any(not meaning.possible for meaning in meanings):
        return True
    # a landmark of which there are several leaves open what the relation says
    unambiguous = all(meaning.only is not None for meaning in meanings)
    return unambiguous and not scene.meaning(description).possible


def draw_swaps(scene: SceneSemantics, expression: Expression, count: int, rng: Generator) -> list[WordSwap]:
    """At most `count` swaps of one expression, of different classes where there are so many.

    A swapped landmark may leave the object the same, so it is taken only where it is false of the image.
    """
    options: dict[str, list[WordSwap]] = {}
    for change in _changes(scene, expression.description, rng):
        text = replaced(expression.text, change.table, change.old, change.new, rng)
        false = is_false(scene, change.description)
        if false and rng.random() > KEPT.get(change.old, 1.0):
            continue
        if text is not None and (false or change.word_class != "landmark"):
            swap = WordSwap(text, change.word_class, false)
            options.setdefault(change.word_class, []).append(swap)
    chosen: list[WordSwap] = []
    # location, size and relation are rarer than the rest and are harder to learn: they go first
    classes = rng.permutation(np.array(sorted(options), dtype=object)).tolist()
    classes.sort(key=lambda word_class: word_class not in OPPOSITES)
    while len(chosen) < count and any(options.values()):
        for swaps in map(options.__getitem__, classes):
            if swaps and len(chosen) < count:
                chosen.append(swaps.pop(int(rng.integers(len(swaps)))))
    return chosen
