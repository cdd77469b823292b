"""Noun phrases of captions: the splitter's rules, and spaCy's chunks through a pipeline on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from camground.data.readers.noun_phrases import (
    ADJECTIVES,
    ENGLISH,
    MAX_WORDS,
    phrase_extractor,
    split_caption,
)
from camground.study.errors import UserError


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "A boy in blue swimming trunks slides down a yellow slide into a wading pool .",
            ["boy", "blue swimming trunks", "yellow slide", "wading pool"],
        ),
        ("A black and white dog runs on the grass .", ["black and white dog", "grass"]),
        ("Two dogs run and jump over a log", ["two dogs", "log"]),
        ("A small, brown dog", ["small brown dog"]),
        ("He holds her hand while she looks at it .", ["hand"]),
        ("A group of the people walk in front of a building .", ["group of people", "building"]),
        ("A dog in a pink shirt runs through a field", ["dog", "pink shirt", "field"]),
        ("A dog drinks from a dog bowl in the background .", ["dog", "dog bowl"]),
        ("A man 's hat and a woman’s t-shirt", ["man", "hat", "woman", "t-shirt"]),
        ("A brightly colored ball on a snow covered hill", ["brightly colored ball", "snow covered hill"]),
        ("A child on a tire swing in a park", ["child", "tire swing", "park"]),
        ("A man dressed in black is smiling .", ["man"]),
        ("The smiling girl is wearing a striped dress .", ["smiling girl", "striped dress"]),
        ("One dog chases two other dogs .", ["dog", "two dogs"]),
        ("They are wet .", []),
        ("...", []),
        ("", []),
    ],
)
def test_splitter_finds_the_things_that_a_caption_names(caption: str, expected: list[str]) -> None:
    assert split_caption(caption) == expected


def test_with_in_short_is_a_preposition() -> None:
    assert split_caption("A camp w/ tents") == ["camp", "tents"]
    assert split_caption("A man w/a dog") == ["man", "dog"]


WORDS = sorted(
    ENGLISH["nouns_or_verbs"]
    | ADJECTIVES
    | ENGLISH["determiners"]
    | ENGLISH["prepositions"]
    | ENGLISH["measures"]
    | {"dog", "men", "running", "dressed", "and", ",", "slowly", "'s", "9", "été"}
)


@given(st.lists(st.sampled_from(WORDS), max_size=15))
def test_phrases_are_short_lower_case_and_start_and_end_with_content(words: list[str]) -> None:
    for phrase in split_caption(" ".join(words).upper()):
        found = phrase.split()
        assert 1 <= len(found) <= MAX_WORDS
        assert phrase == phrase.lower()
        banned = ENGLISH["determiners"] | {"and", "of"}
        assert not {found[0], found[-1]} & banned
        assert not set(found) & (ENGLISH["prepositions"] - {"of"})
        assert set(found) <= set(" ".join(words).split())


@given(st.text(max_size=60))
def test_any_text_is_split_without_an_error(text: str) -> None:
    assert all(phrase.strip() for phrase in split_caption(text))


TAGS = {"a": "DET", "the": "DET", "it": "PRON", "black": "ADJ", "grassy": "ADJ", "on": "ADP"}
TAGS |= {"dog": "NOUN", "field": "NOUN", "background": "NOUN", "runs": "VERB", ".": "PUNCT"}


@Language.component("camground_test_parser")
def parse(document: Doc) -> Doc:
    """Tags by the table; a noun heads the determiners and adjectives before it."""
    verb = next((token for token in document if TAGS.get(token.lower_) == "VERB"), document[0])
    for index, token in enumerate(document):
        token.pos_ = TAGS.get(token.lower_, "NOUN")
        token.head, token.dep_ = verb, "punct"
        if token is verb or token.i == verb.i:
            token.dep_ = "ROOT"
        elif token.pos_ in ("NOUN", "PRON"):
            preposition = index and any(TAGS.get(other.lower_) == "ADP" for other in document[verb.i : index])
            token.dep_ = "pobj" if preposition else "nsubj"
        elif token.pos_ in ("DET", "ADJ"):
            noun = next(
                other
                for other in document[index:]
                if other.pos_ == "NOUN" or TAGS.get(other.lower_, "NOUN") == "NOUN"
            )
            token.head, token.dep_ = noun, "det" if token.pos_ == "DET" else "amod"
    return document


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """A small pipeline saved to disk, loaded by its path as a user's own would be."""
    made = spacy.blank("en")
    made.add_pipe("camground_test_parser")
    made.to_disk(tmp_path / "pipeline")
    return str(tmp_path / "pipeline")


def test_spacy_chunks_come_without_articles_pronouns_and_places(pipeline: str) -> None:
    texts = ["A black dog runs on the grassy field .", "it runs on the background ."]
    assert list(phrase_extractor(pipeline)(texts)) == [["black dog", "grassy field"], []]


def test_no_model_means_the_splitter() -> None:
    assert list(phrase_extractor(None)(["A dog runs ."])) == [["dog"]]


def test_a_model_that_cannot_be_loaded_is_named_with_its_key() -> None:
    with pytest.raises(UserError, match=r"data\.folder\.spacy_model.*no_such_model"):
        phrase_extractor("no_such_model")


def test_a_model_without_a_parser_is_refused(tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UserError, match=r"data\.folder\.spacy_model.*parser"):
        list(phrase_extractor(str(tmp_path / "blank"))(["A dog runs ."]))
