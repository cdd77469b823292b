"""Noun phrases of captions, the referring expressions that training sees: "a boy in blue swimming
trunks slides down a yellow slide" gives "boy", "blue swimming trunks", "yellow slide".

Two extractors with the same output (lower-case, articles and possessives stripped, no pronouns, no
words such as "background" that name no object): spaCy's noun chunks, and a splitter that needs no
model and goes by the word lists of english.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from camground.study.errors import UserError

Extractor = Callable[[Iterable[str]], Iterator[list[str]]]
_TABLE: dict[str, str] = yaml.safe_load(Path(__file__).with_name("english.yaml").read_text())
ENGLISH = {name: frozenset(words.split()) for name, words in _TABLE.items()}
ADJECTIVES = ENGLISH["adjectives"] | ENGLISH["colours"]
# A longer phrase is a misread sentence.
MAX_WORDS = 6
# "w/" is a preposition of captions: with
_TOKEN = re.compile(r"\b[wW]/|[^\W_]+(?:['\-][^\W_]+)*|[^\w\s]")
_POSSESSIVE = re.compile(r"\s*'\s*s\b")
_BREAKS = (
    ENGLISH["prepositions"] | ENGLISH["function_words"] | ENGLISH["pronouns"] | ENGLISH["determiners"]
) - ENGLISH["numbers"]


def _forms(base: str) -> set[str]:
    """The base form of a verb and its third person."""
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        return {base, base + "es"}
    if base.endswith("y") and base[-2] not in "aeiou":
        return {base, base[:-1] + "ies"}
    return {base, base + "s"}


_EITHER = frozenset(form for base in ENGLISH["nouns_or_verbs"] for form in _forms(base))
_VERBS = {form for base in ENGLISH["verbs"] for form in _forms(base)} - _EITHER | ENGLISH["irregular_verbs"]


def _tokens(text: str) -> list[str]:
    """Lower-case words and punctuation marks; a possessive 's becomes a mark."""
    return _TOKEN.findall(_POSSESSIVE.sub(" ' ", text.lower().replace("’", "'")))


def _is_content(word: str) -> bool:
    return word[:1].isalnum() and word not in _BREAKS and word not in _VERBS


def _ends_in(ending: str, exceptions: frozenset[str]) -> Callable[[str], bool]:
    return lambda word: len(word) > 4 and word.endswith(ending) and word not in exceptions


_is_participle = _ends_in("ed", ENGLISH["not_participles_in_ed"])
_is_ing = _ends_in("ing", ENGLISH["nouns_in_ing"])
_is_adverb = _ends_in("ly", ENGLISH["not_adverbs_in_ly"] | ADJECTIVES)


def _is_agent(word: str) -> bool:
    person = word.endswith(("er", "ers", "ist", "ists")) and word not in ENGLISH["not_agents_in_er"]
    return person or word in ENGLISH["agents"]


def _is_plural(word: str) -> bool:
    return word in ENGLISH["plurals"] or (word.endswith("s") and not word.endswith("ss"))


def _is_modifier(word: str) -> bool:
    """Cannot be the last word of a phrase."""
    return (
        (word in ADJECTIVES and word not in ENGLISH["also_nouns"])
        or word in ENGLISH["numbers"]
        or word in ("and", "of")
        or _is_participle(word)
        or _is_adverb(word)
    )


def _names_object(words: list[str]) -> bool:
    """Whether a phrase names a thing: some word is no modifier and no mere place or time."""
    return any(
        not _is_modifier(word)
        and word not in ENGLISH["not_objects"]
        and word not in ENGLISH["pronouns"]
        and any(letter.isalpha() for letter in word)
        and len(word) > 1
        for word in words
    )


class _Splitter:
    """Reads one caption from left to right; `_open` holds the words of the phrase that is open."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._phrases: list[str] = []

    def _close(self) -> None:
        words = self._open
        self._open = []
        while words and (_is_modifier(words[-1]) or _is_ing(words[-1])):
            words.pop()
        if words and len(words) <= MAX_WORDS and _names_object(words):
            self._phrases.append(" ".join(words))

    def _head(self) -> str:
        """The noun that the open phrase ends with so far, else ''."""
        return self._open[-1] if self._open and not _is_modifier(self._open[-1]) else ""

    def _is_verb(self, word: str, before: str, after: str) -> bool:
        """Whether a word that can be noun or verb is a verb here.

        It is one after a pronoun or "to"; after a doer of the right number ("a boy slides", "boys
        slide", but "a dog bowl"), or after any noun when a preposition or article follows and the
        number does not forbid it ("a boy in trunks runs through", but "a tire swing in"); and
        first in a clause that goes on ("and jumps over").
        """
        third_person = word.endswith("s") and word not in ENGLISH["nouns_or_verbs"]
        if before in ENGLISH["subject_pronouns"]:
            return before != "to" or not third_person
        head = self._head()
        goes_on = after in ENGLISH["prepositions"] or after in ENGLISH["determiners"]
        if head and goes_on and third_person:
            return True
        if head:
            return (goes_on or _is_agent(head)) and _is_plural(head) != third_person
        return before in ("and", ",", "while", "then") and not self._open and goes_on

    def _is_silent(self, word: str, after: str) -> bool:
        """Neither part of a phrase nor its end: "a group of [the] people", "two [other] dogs"."""
        if word in ENGLISH["determiners"]:
            return self._open[-1:] == ["of"]
        return word in ("one", "other") and not self._head() and _is_content(after)

    def _is_boundary(self, word: str, before: str, after: str) -> bool:
        if not word[0].isalnum() or word in _BREAKS or word in _VERBS:
            return True
        return word in _EITHER and self._is_verb(word, before, after)

    def _step(self, before: str, word: str, after: str) -> None:
        head = self._head()

        takes = True
        if word in ("and", ",") and self._open and not head and _is_content(after):
            # "black and white dog", "small, brown dog": one phrase.
            if word == ",":
                return
            takes = after in ADJECTIVES
        elif word == "of" and head in ENGLISH["measures"]:
            pass
        elif self._is_silent(word, after):
            return
        elif self._is_boundary(word, before, after):
            takes = False
        elif _is_ing(word):
            opens = before in ENGLISH["determiners"] or (
                bool(self._open) and not head and self._open[-1] != "of"
            )
            compound = after in ENGLISH["nouns_after_ing"] and not _is_agent(head)
            modifies = compound or (opens and _is_content(after))
            takes = modifies and word not in ENGLISH["only_doing"]
        elif _is_participle(word) or _is_adverb(word):
            takes = _is_content(after) and not _is_agent(head)
        elif (
            (word in ENGLISH["numbers"] or word in ADJECTIVES)
            and head not in ("", "number")
            and (word not in ENGLISH["also_nouns"] or _is_content(after))
        ):
            # An adjective after the noun opens the next phrase, unless it is a noun itself.
            self._close()
        if takes:
            self._open.append(word)
        else:
            self._close()

    def phrases(self, tokens: list[str]) -> list[str]:
        for before, word, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
            self._step(before, word, after)
        self._close()
        return self._phrases


def split_caption(text: str) -> list[str]:
    """Noun phrases of an English caption in order, repeated ones included; no model needed."""
    return _Splitter().phrases(_tokens(text))


def _chunk_phrases(document: Any) -> list[str]:
    """spaCy's noun chunks of a parsed document, cleaned like the splitter's phrases."""
    phrases = []
    for chunk in document.noun_chunks:
        if chunk.root.pos_ == "PRON":
            continue
        words = [token for token in chunk if not (token.is_punct or token.is_space)]
        while words and (words[0].pos_ in ("DET", "PRON") or words[0].tag_ == "POS"):
            if words[0].lower_ in ENGLISH["numbers"]:
                break
            words.pop(0)
        texts = [token.lower_ for token in words if token.lower_ not in ENGLISH["determiners"]]
        if texts and len(texts) <= MAX_WORDS and _names_object(texts):
            phrases.append(" ".join(texts))
    return phrases


def _spacy_extractor(model: str) -> Extractor:
    key = "data.folder.spacy_model"
    try:
        import spacy
    except ImportError as error:
        raise UserError(
            f"{key} is {model!r}, but spaCy cannot be imported ({error}); install it (pip install"
            " 'camground[spacy]') or set the key to null for the stop-word splitter"
        ) from None
    try:
        pipeline = spacy.load(model, exclude=["ner", "lemmatizer", "textcat"])
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"{key}: spaCy cannot load {model!r} ({str(error).splitlines()[0]}); install it (python"
            f" -m spacy download {model}), give the path of a pipeline's folder, or set the key to"
            " null for the stop-word splitter"
        ) from None

    def extract(texts: Iterable[str]) -> Iterator[list[str]]:
        for document in pipeline.pipe(texts, batch_size=256):
            try:
                phrases = _chunk_phrases(document)
            except (ValueError, RuntimeError):
                raise UserError(
                    f"{key}: the pipeline {model!r} finds no noun chunks; it needs a tagger and a"
                    f" dependency parser (it has {pipeline.pipe_names}); name another one, or set"
                    " the key to null for the stop-word splitter"
                ) from None
            yield phrases

    return extract


def phrase_extractor(spacy_model: str | None) -> Extractor:
    """A function from captions to their noun phrases, one list per caption, lazily.

    `spacy_model` is the name or path of a spaCy pipeline; None takes the stop-word splitter. Raises
    `UserError` naming `data.folder.spacy_model` when it cannot be loaded or does not parse.
    """
    if spacy_model is not None:
        return _spacy_extractor(spacy_model)
    return lambda texts: map(split_caption, texts)
