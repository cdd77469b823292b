"""The head of a phrase, the noun that says what kind of thing is meant, from the words alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

# Heads that get a group of their own; all others share OTHER.
MOST = 10
OTHER = "other"
# Words after which a phrase describes what it has named. "left" and "right" alone also stand before a noun.
_DESCRIBES = re.compile(
    r"\b(?:(?:to the )?(?:left|right) of|about|above|across|after|against|along|among|around|at|before|behind"
    r"|below|beneath|beside|between|by|closest|for|from|furthest|holding|in|inside|into|near|nearest|next|of"
    r"|off|on|onto|out|over|playing|standing|sitting|that|through|to|toward|towards|under|underneath|up|wearing"
    r"|which|while|who|whose|with|without)\b"
)
_WORD = re.compile(r"[\w'-]*\w")


def phrase_head(text: str) -> str | None:
    """The last word before the first that begins a description: "man" of "the old man in a red shirt".

    A phrase that begins with a description, or has no word, has none.
    """
    lowered = text.casefold()
    description = _DESCRIBES.search(lowered)
    words = _WORD.findall(lowered[: description.start()] if description else lowered)
    return words[-1] if words else None


def head_groups(texts: Sequence[str]) -> np.ndarray:
    """For each text its head where that is among the `MOST` most frequent ones of all, else `OTHER`; (N,)
    object. Of heads as frequent as each other, the first by the alphabet."""
    heads = pd.Series([phrase_head(text) for text in texts], dtype=object)
    counts = heads.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return heads.where(heads.isin(counts.index[:MOST]), OTHER).to_numpy(dtype=object)
