"""Which classes of words an expression has, from the words alone: colour, pattern, size, location, relation.

The words are those of the scenes' grammar; in a photograph's phrase they match as they happen to occur.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from camground.data.scenes.grammar import WORD_CLASSES

# The words of a class are taken out before the next are looked for, so that the "left" of "to the left of" is
# a relation and not also a location.
CLASSES = ("relation", "location", "size", "pattern", "colour")
_MORE = {"pattern": "pattern_noun"}


def _whole(phrases: Iterable[str]) -> re.Pattern[str]:
    """Any of `phrases` between word borders, a hyphen being part of a word; the longest is tried first."""
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    either = "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in longest_first)
    return re.compile(rf"(?<![\w-])(?:{either})(?![\w-])", re.IGNORECASE)


_PATTERNS = {
    name: _whole(WORD_CLASSES[name] | WORD_CLASSES.get(_MORE.get(name, ""), set())) for name in CLASSES
}


def word_classes(text: str) -> tuple[str, ...]:
    """The classes that `text` has words of, in the order of `CLASSES`; () where it has none."""
    classes = []
    for name, pattern in _PATTERNS.items():
        # something stands in the gap, or the words around it could read as one phrase
        text, count = pattern.subn("|", text)
        if count:
            classes.append(name)
    return tuple(classes)
