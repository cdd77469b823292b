"""Heads of phrases, and which of them get a group."""

from __future__ import annotations

import pytest

from camground.evaluation.phrase_heads import MOST, OTHER, head_groups, phrase_head


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("the old man in a red shirt", "man"),
        ("Brown dog", "dog"),
        ("the small striped boat left of the house", "boat"),
        ("boat to the left of the house", "boat"),
        ("the left boat", "boat"),
        ("a t-shirt", "t-shirt"),
        ("child's hand", "hand"),
        ("Kind mit Hund", "hund"),
        ("in front", None),
        ("…", None),
        ("", None),
    ],
)
def test_the_head_is_the_last_word_before_a_description(text: str, head: str | None) -> None:
    assert phrase_head(text) == head


def test_rare_heads_share_a_group() -> None:
    frequent = [f"a {letter}" for letter in "bcdefghijk" for _ in range(2)]
    texts = [*frequent, "a z", "with", "big b"]
    groups = head_groups(texts).tolist()
    assert groups == [*(text[-1] for text in frequent), OTHER, OTHER, "b"]
    assert len(set(groups)) == MOST + 1
    # as frequent as each other: which of them have a group does not hang on their order
    alphabet = [f"a {letter}" for letter in "lkjihgfedcb"]
    assert set(head_groups(alphabet)) == {*"bcdefghijk", OTHER}
    assert head_groups([]).shape == (0,)
