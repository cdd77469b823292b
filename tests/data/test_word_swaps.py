"""One-word swaps of expressions: the change, that it is an opposite, and which are false of the image."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camground.data.scenes.dataset import Scene, make_scene
from camground.data.scenes.expressions import Expression
from camground.data.scenes.grammar import CONCEPTS, WORD_CLASSES, WORDINGS
from camground.data.scenes.semantics import Description, SceneObject, SceneSemantics
from camground.data.scenes.word_swaps import CLASSES, OPPOSITES, WordSwap, draw_swaps, is_false, replaced
from camground.study import tables
from scene_reader import RELATION, SEED, Lenient, digests, make_scenes, scenes_config, write_scenes

ENDS = {
    frozenset(pair)
    for pair in [
        *(("small", "big"), ("smallest", "biggest"), ("left", "right"), ("top", "bottom")),
        *(("leftmost", "rightmost"), ("highest", "lowest"), ("left_of", "right_of")),
        *(("above", "below"), ("in_front_of", "behind"), ("bigger_than", "smaller_than")),
    ]
}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return make_scenes(expressions_per_scene=9, swaps_per_expression=8)


def every(scenes: list[Scene]) -> list[tuple[Scene, Expression, WordSwap]]:
    return [
        (scene, expression, swap)
        for scene in scenes
        for expression, its in zip(scene.expressions, scene.swaps, strict=True)
        for swap in its
    ]


def read(text: str) -> list[tuple[str, str]]:
    """(class, concept) of each word or relation, in order; other words but articles as they are."""
    parts = RELATION.split(text)
    found = []
    for number, part in enumerate(parts):
        if number % 2:
            found.append(("relation", CONCEPTS["relation"][part]))
            continue
        for word in part.split():
            kinds = [kind for kind in CONCEPTS if word in CONCEPTS[kind] and kind != "relation"]
            if kinds:
                found.append((kinds[0], CONCEPTS[kinds[0]][word]))
            elif word not in ("a", "an"):
                found.append(("plain", word))
    return found


def test_a_swap_changes_one_word_of_the_named_class(scenes: list[Scene]) -> None:
    seen: Counter[str] = Counter()
    for _, expression, swap in every(scenes):
        before, after = read(expression.text), read(swap.text)
        assert len(before) == len(after), (expression.text, swap.text)
        differs = [i for i, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1]
        assert len(differs) == 1, (expression.text, swap.text)
        (kind, old), (new_kind, new) = before[differs[0]], after[differs[0]]
        assert kind == new_kind
        related = [i for i, (name, _) in enumerate(before) if name == "relation"]
        of_landmark = bool(related) and differs[0] > related[0] and kind != "relation"
        assert (swap.word_class == "landmark") == of_landmark, (expression.text, swap.text)
        if of_landmark:
            assert kind in ("category", "colour")
        else:
            assert swap.word_class == kind
        if kind in OPPOSITES:
            assert frozenset((old, new)) in ENDS
        seen[swap.word_class] += 1
    assert set(seen) == set(CLASSES)
    assert min(seen.values()) > 20


def test_articles_fit_and_all_other_words_stay(scenes: list[Scene]) -> None:
    for _, expression, swap in every(scenes):
        assert not re.search(r"\ba [aeiou](?!ne\b)", swap.text), swap.text
        assert not re.search(r"\ban [^aeiou]", swap.text), swap.text
        old, new = (
            [word for word in text.split() if word not in ("a", "an")]
            for text in (expression.text, swap.text)
        )
        shared = sum((Counter(old) & Counter(new)).values())
        longest = max(len(words.split()) for words in WORD_CLASSES["relation"])
        at_most = longest if swap.word_class == "relation" else 1
        assert len(old) - shared <= at_most
        assert len(new) - shared <= at_most


@pytest.mark.parametrize("doubt", [0.0, 0.5])
def test_a_swap_does_not_mean_the_object(scenes: list[Scene], doubt: float) -> None:
    for scene, expression, swap in every(scenes):
        reader = Lenient(scene.semantics.objects, scene.semantics.hides, doubt)
        assert reader.read(expression.text) == {expression.target}
        assert expression.target not in reader.read(swap.text), (expression.text, swap.text)


def test_a_swap_said_to_be_false_means_nothing_by_the_loosest_reading(scenes: list[Scene]) -> None:
    counts: Counter[tuple[bool, bool]] = Counter()
    for scene, expression, swap in every(scenes):
        found = Lenient(scene.semantics.objects, scene.semantics.hides, 1.0).read(swap.text)
        if swap.false_of_image:
            assert not found, (expression.text, swap.text, found)
        counts[swap.false_of_image, bool(found)] += 1
    assert counts[True, False] > 500
    # nor is the doubt an excuse: of what is not said to be false, most means something
    assert counts[False, True] > 200
    assert counts[False, False] < 0.2 * counts[False, True]


def test_landmarks_are_swapped_only_where_that_is_false(scenes: list[Scene]) -> None:
    landmarks = [swap for *_, swap in every(scenes) if swap.word_class == "landmark"]
    assert all(swap.false_of_image for swap in landmarks)


def test_words_swapped_in_are_mostly_of_the_scene(scenes: list[Scene]) -> None:
    """A word that no object of the scene bears would give the swap away."""
    present = []
    for scene, expression, swap in every(scenes):
        if swap.word_class in ("category", "colour"):
            kinds = {getattr(item, swap.word_class) for item in scene.semantics.objects}
            if len(kinds) > 1:
                pairs = zip(read(expression.text), read(swap.text), strict=True)
                (new,) = [after[1] for before, after in pairs if before != after]
                present.append(new in kinds)
    assert len(present) > 300
    assert 0.65 < np.mean(present) < 0.9


def test_opposites_are_each_others_ends() -> None:
    for kind, pairs in OPPOSITES.items():
        concepts = [concept for pair in pairs for concept in pair]
        assert len(set(concepts)) == len(concepts)
        assert set(concepts) <= set(WORDINGS[kind])
        assert {frozenset(pair) for pair in pairs} <= ENDS


def test_opposites_never_hold_both_and_relations_turn_round(scenes: list[Scene]) -> None:
    held: Counter[str] = Counter()
    for scene in scenes:
        semantics, everything = scene.semantics, frozenset(range(len(scene.semantics.objects)))
        for one, other in OPPOSITES["relation"]:
            for b in everything:
                first, second = semantics.related(one, (b,)), semantics.related(other, (b,))
                assert not first.clear & second.clear
                held[one] += len(first.clear)
                for a in first.clear:
                    assert b in semantics.related(other, (a,)).clear
        for kind in ("size", "location"):
            for one, other in OPPOSITES[kind]:
                said = [
                    Description(size=c) if kind == "size" else Description(location=(c,))
                    for c in (one, other)
                ]
                first, second = (semantics.meaning(each).clear for each in said)
                assert not first & second
                held[one] += len(first)
    assert min(held.values()) > 0
    assert len(held) == sum(map(len, OPPOSITES.values()))


@pytest.mark.parametrize(
    ("text", "table", "old", "new", "expected"),
    [
        ("an orange boat", "colour", "orange", "green", "a green boat"),
        ("a red boat", "colour", "red", "orange", "an orange boat"),
        ("the red boat", "colour", "red", "orange", "the orange boat"),
        ("cup near a car", "category", "car", "umbrella", "cup near an umbrella"),
        ("a scarlet boat", "colour", "red", "purple", "a violet boat"),
        ("the tiniest boat", "size", "smallest", "biggest", "the largest boat"),
        ("cup to the left of a car", "relation", "left_of", "right_of", "cup to the right of a car"),
        ("cup left of a car", "relation", "left_of", "right_of", "cup right of a car"),
        (
            *("cup that is on the left side of the car", "relation", "left_of", "right_of"),
            "cup that is on the right side of the car",
        ),
        (
            *("cup partly hidden by the car", "relation", "behind", "in_front_of"),
            "cup partly covering the car",
        ),
        ("cup larger than the car", "relation", "bigger_than", "smaller_than", "cup smaller than the car"),
        ("the upper left cup", "location", "top", "bottom", "the lower left cup"),
        ("the stripy cup", "pattern", "striped", "checked", "the checkered cup"),
        # a part of a longer word is no word
        ("the bigger than cup", "size", "big", "small", None),
        ("the polka-dots cup", "pattern", "dotted", "plain", None),
        # several of the concept, in the same or in another wording
        ("red cup left of the red car", "colour", "red", "blue", None),
        ("red cup left of the scarlet car", "colour", "red", "blue", None),
        ("automobile left of the red car", "category", "car", "cup", None),
        ("cup with stripes left of the striped car", "pattern", "striped", "plain", None),
        # no such adjective
        ("cup with stripes", "pattern", "striped", "dotted", None),
        ("the blue cup", "colour", "red", "green", None),
    ],
)
def test_replaced(text: str, table: str, old: str, new: str, expected: str | None) -> None:
    assert replaced(text, table, old, new, np.random.default_rng(0)) == expected


def test_every_wording_is_swapped_in() -> None:
    """A wording that no swap has would tell that a text is true: "tiny" and "larger" were such."""
    rng = np.random.default_rng(0)
    for table, old, new in (
        *(("size", "big", "small"), ("relation", "smaller_than", "bigger_than")),
        *(("pattern", "striped", "dotted"), ("colour", "blue", "red"), ("category", "tree", "house")),
    ):
        word = WORDINGS[table][old][0]
        drawn = {replaced(f"the {word} thing", table, old, new, rng) for _ in range(200)}
        assert drawn == {f"the {other} thing" for other in WORDINGS[table][new]}


def test_a_word_is_swapped_in_about_as_often_as_out() -> None:
    """Of the swaps that are false of the image, or the text alone would tell that it is false."""
    out: Counter[tuple[str, str]] = Counter()
    into: Counter[tuple[str, str]] = Counter()
    for _, expression, swap in every(make_scenes(400)):
        if swap.false_of_image and swap.word_class in ("pattern", "size", "relation", "location"):
            words = Counter(expression.text.split()), Counter(swap.text.split())
            out.update((swap.word_class, word) for word in words[0] - words[1])
            into.update((swap.word_class, word) for word in words[1] - words[0])
    frequent = [word for word in {*out, *into} if out[word] + into[word] >= 30 and word[1] not in ("a", "an")]
    assert {("pattern", "plain"), ("size", "small"), ("relation", "larger")} <= set(frequent)
    for word in frequent:
        spread = (out[word] + into[word]) ** 0.5
        assert abs(out[word] - into[word]) < 3.5 * spread, (word, out[word], into[word])


def scene_of_three() -> SceneSemantics:
    """A red cup left, a blue cup right, a small green car under the middle."""
    items = [
        SceneObject("cup", "red", "plain", (0.1, 0.2, 0.3, 0.4)),
        SceneObject("cup", "blue", "plain", (0.7, 0.2, 0.9, 0.4)),
        SceneObject("car", "green", "striped", (0.45, 0.75, 0.55, 0.85)),
    ]
    return SceneSemantics(items, np.zeros((3, 3)))


def test_false_is_what_no_object_can_be() -> None:
    semantics = scene_of_three()
    cup, car, tree = (Description(category=name) for name in ("cup", "car", "tree"))
    assert not is_false(semantics, cup)
    assert is_false(semantics, tree)
    assert is_false(semantics, replace(cup, colour="green"))
    assert is_false(semantics, replace(car, location=("top",)))
    assert not is_false(semantics, replace(cup, location=("right",)))
    for name, false in (("above", False), ("below", True), ("smaller_than", True)):
        assert is_false(semantics, replace(cup, relations=((name, (car,)),))) == false, name
    assert is_false(semantics, replace(cup, relations=(("above", (tree,)),)))
    # which of the two cups is meant is open, so nothing is certain
    assert not is_false(semantics, replace(car, relations=(("above", (cup,)),)))


def test_at_most_as_many_as_asked_and_of_different_classes() -> None:
    semantics = scene_of_three()
    said = Description(category="cup", colour="red", location=("left",))
    expression = Expression("red cup on the left", 0, "ref", said)
    for count in range(6):
        found = draw_swaps(semantics, expression, count, np.random.default_rng(0))
        assert len(found) == min(count, 3)
        assert len({swap.word_class for swap in found}) == len(found)
        assert len({swap.text for swap in found} | {expression.text}) == len(found) + 1
    draws = [draw_swaps(semantics, expression, 2, np.random.default_rng(seed)) for seed in range(30)]
    # place, size and relation go first
    assert {first.word_class for first, _ in draws} == {"location"}
    assert {second.word_class for _, second in draws} == {"category", "colour"}


def test_same_seed_same_swaps() -> None:
    first, again, other = (
        make_scene(scenes_config(), seed, "val", 1).swaps for seed in (SEED, SEED, SEED + 1)
    )
    assert first == again
    assert any(first)
    assert other != first


def test_scenes_and_expressions_do_not_depend_on_the_swaps(tmp_path: Path) -> None:
    without, with_two = (
        write_scenes(tmp_path / str(count), train=3, val=2, test=2, swaps_per_expression=count)
        for count in (0, 2)
    )
    one, two = digests(without), digests(with_two)
    differing = {name for name in one if one[name] != two[name]}
    assert one.keys() == two.keys()
    assert differing == {"expressions.parquet"}
    plain, texts = (
        tables.read("expressions", folder / "expressions.parquet") for folder in (without, with_two)
    )
    assert set(plain.kind) == {"phrase"}
    kept = texts[texts.kind == "phrase"].reset_index(drop=True)
    assert kept.astype(plain.dtypes).equals(plain)  # without a swap no `boxed` is null
    assert kept[["swap_of", "word_class", "false_of_image"]].isna().all(axis=None)


def test_the_table_says_what_each_swap_was_made_from(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path, train=3, val=2, test=1)
    texts = tables.read("expressions", folder / "expressions.parquet")
    swapped = texts[texts.kind == "swap"]
    phrases = texts[texts.kind == "phrase"].set_index("expression_id")
    origin = phrases.loc[swapped.swap_of]
    assert len(swapped) > len(phrases)
    assert (origin.image_id.to_numpy() == swapped.image_id.to_numpy()).all()
    assert (origin.split.to_numpy() == swapped.split.to_numpy()).all()
    assert (origin.text.to_numpy() != swapped.text.to_numpy()).all()
    assert swapped.groupby("swap_of").size().max() == 2
    assert set(swapped.word_class) <= set(CLASSES)
    assert set(swapped.false_of_image) == {True, False}
