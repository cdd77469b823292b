"""Words of the scenes' expressions, and how a description is put into them.

`CONCEPTS` maps each word of a class to what it means, so that words of one concept are synonyms;
`WORD_CLASSES` is the words alone. A word or phrase of one class can take the place of another of it.
"""

from __future__ import annotations

from numpy.random import Generator

from camground.data.scenes.semantics import Description


def wordings(text: str) -> dict[str, tuple[str, ...]]:
    """Concepts, parted by commas, each with its words; the concept bears the name of the first."""
    return {words[0]: words for words in (tuple(part.split()) for part in text.split(","))}


# The first wording of each concept is the most frequent.
WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "category": wordings(
        """house home cottage, car automobile, tree, boat sailboat, flower blossom, fish, cup mug, lamp,
        umbrella parasol, rocket spaceship, mushroom toadstool, snowman, balloon, guitar, bird, butterfly,
        robot android, snail, teapot kettle, kite"""
    ),
    "generic": wordings("thing object one"),
    "colour": wordings(
        """red scarlet, orange, yellow, green, blue, purple violet, pink, brown, white, grey gray, black"""
    ),
    "pattern": wordings("plain solid, striped stripy, dotted spotted polka-dot, checked checkered"),
    "pattern_noun": {
        "striped": ("stripes",),
        "dotted": ("dots", "spots", "polka-dots"),
        "checked": ("checks", "squares"),
    },
    "size": wordings("small little tiny, big large, smallest tiniest, biggest largest"),
    "location": wordings(
        """left, right, top upper, bottom lower, middle center, leftmost, rightmost, highest topmost,
        lowest bottommost"""
    ),
    "relation": {
        "left_of": ("to the left of", "left of", "on the left side of"),
        "right_of": ("to the right of", "right of", "on the right side of"),
        "above": ("above", "over", "higher than"),
        "below": ("below", "under", "lower than"),
        "next_to": ("next to", "beside", "close to", "near"),
        "between": ("between", "in between"),
        "in_front_of": ("in front of", "partly covering"),
        "behind": ("behind", "partly hidden by"),
        "bigger_than": ("bigger than", "larger than"),
        "smaller_than": ("smaller than",),
        "same_colour_as": ("with the same colour as", "of the same colour as"),
    },
}
CONCEPTS: dict[str, dict[str, str]] = {
    kind: {word: concept for concept, words in concepts.items() for word in words}
    for kind, concepts in WORDINGS.items()
}
WORD_CLASSES: dict[str, set[str]] = {kind: set(words) for kind, words in CONCEPTS.items()}

_SIDE_PHRASES = ("on the {}", "on the {} side", "at the {}", "to the {}")
_VERTICAL_PHRASES = ("at the {}", "toward the {}")
_CLAUSES = ("", "", "that is ", "which is ")


def _pick(options: tuple[str, ...], rng: Generator, first: float = 0.6) -> str:
    """One of the options; the first with probability `first`, the others alike."""
    if len(options) == 1 or rng.random() < first:
        return options[0]
    return options[1 + int(rng.integers(len(options) - 1))]


def _any(options: tuple[str, ...], rng: Generator) -> str:
    return options[int(rng.integers(len(options)))]


def word(kind: str, concept: str, rng: Generator) -> str:
    """A word of class `kind` for the concept."""
    return _pick(WORDINGS[kind][concept], rng)


def _noun_phrase(description: Description, rng: Generator, before: tuple[str, ...] = ()) -> list[str]:
    """Adjectives and noun, without article; `before`: words of location that lead."""
    adjectives = list(before)
    if description.size:
        adjectives.insert(int(rng.integers(len(adjectives) + 1)), word("size", description.size, rng))
    marks: list[str] = []
    after: list[str] = []
    if description.pattern:
        if description.pattern in WORDINGS["pattern_noun"] and rng.random() < 0.25:
            after = ["with", word("pattern_noun", description.pattern, rng)]
        else:
            marks.append(word("pattern", description.pattern, rng))
    if description.colour:
        index = 0 if description.pattern and rng.random() < 0.3 else len(marks)
        marks.insert(index, word("colour", description.colour, rng))
    kind = ("category", description.category) if description.category else ("generic", "thing")
    return [*adjectives, *marks, word(*kind, rng), *after]


def with_article(words: list[str], rng: Generator, indefinite: float) -> list[str]:
    """`words` after "the", or with probability `indefinite` after "a" or "an"."""
    if rng.random() >= indefinite:
        return ["the", *words]
    return ["an" if words[0][0] in "aeiou" and words[0] != "one" else "a", *words]


def _location(location: tuple[str, ...], rng: Generator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words of location before and after the noun phrase; one of the two is empty."""
    words = tuple(word("location", name, rng) for name in location)
    adjectival = len(location) == 1 and location[0].endswith(("most", "est"))
    if adjectival or rng.random() < 0.45:
        return words, ()
    # "upper" and "lower" cannot stand alone after a preposition
    nouns = tuple({"upper": "top", "lower": "bottom"}.get(w, w) if len(words) == 1 else w for w in words)
    if len(location) == 2:
        corner = ("in the {}", "at the {}", "in the {} corner", "in the {} part")
        phrase = _any(corner if words[0] in ("top", "bottom") else corner[2:], rng)
    elif location[0] == "middle":
        phrase = _any(("in the {}", "at the {}", "in the {} of the picture"), rng)
    elif location[0] in ("left", "right"):
        phrase = _any(_SIDE_PHRASES, rng)
    else:
        phrase = _any(_VERTICAL_PHRASES, rng)
    return (), tuple(phrase.format(" ".join(nouns)).split())


def phrase(description: Description, flavour: str, rng: Generator) -> str:
    """One wording of the description: lower case, single spaces, no full stop."""
    before, after = _location(description.location, rng) if description.location else ((), ())
    words = [*_noun_phrase(description, rng, before), *after]
    if flavour != "refg":
        return " ".join(with_article(words, rng, 0.0) if rng.random() < 0.5 else words)
    superlative = description.size in ("smallest", "biggest")
    words = with_article(words, rng, 0.0 if superlative else 0.2)
    for number, (name, landmarks) in enumerate(description.relations):
        relation = word("relation", name, rng)
        # "with the same colour as" is no predicate of "that is"
        clause = "" if relation.startswith("with") else _any(_CLAUSES, rng)
        joint = clause if number == 0 else "and " + clause
        named = " and ".join(
            " ".join(with_article(_noun_phrase(landmark, rng), rng, 0.0)) for landmark in landmarks
        )
        words += [*joint.split(), *relation.split(), *named.split()]
    return " ".join(words)
