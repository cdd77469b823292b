"""Which classes of words an expression says."""

from __future__ import annotations

import pytest

from camground.data.scenes.grammar import WORDINGS
from camground.evaluation.word_classes import CLASSES, word_classes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the car", set()),
        ("red car", {"colour"}),
        ("the small striped red car", {"size", "pattern", "colour"}),
        ("car with polka-dots", {"pattern"}),
        ("left car", {"location"}),
        ("the car on the left side", {"location"}),
        ("the car on the left side of the house", {"relation"}),
        ("the upper car to the left of the house", {"location", "relation"}),
        ("the car that is with the same colour as the blue cup", {"relation", "colour"}),
        ("the car bigger than the house", {"relation"}),
        ("The RED car", {"colour"}),
        ("two men in scarlet,black and white", {"colour"}),
        # parts of words are no words
        ("a bored undercover overview of a rightful blackbird", set()),
        ("the blue-eyed girl", set()),
    ],
)
def test_classes_of_whole_words_and_phrases(text: str, said: set[str]) -> None:
    assert set(word_classes(text)) == said


@pytest.mark.parametrize("name", CLASSES)
def test_every_wording_of_the_grammar_is_of_its_class_alone(name: str) -> None:
    for wordings in WORDINGS[name].values():
        for wording in wordings:
            assert word_classes(f"the thing {wording} the house") == (name,), wording
