"""The image-sentence pairs of a split: epochs, batches in order, and swaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camground.data.pairs import Pairs
from camground.study import tables
from camground.study.errors import UserError
from tiny_pairs import SWAP_CLASSES, SWAP_COUNTS, write_pairs, write_swaps


@pytest.fixture
def pairs(tmp_path: Path) -> Pairs:
    return Pairs(*write_pairs(tmp_path), "train", ["phrase"])


@pytest.fixture
def with_swaps(tmp_path: Path) -> Pairs:
    images, expressions = write_pairs(tmp_path)
    write_swaps(expressions)
    return Pairs(images, expressions, "train", ["phrase"])


def test_an_epoch_shows_every_image_once(pairs: Pairs) -> None:
    batches = list(pairs.epoch(2, 2, np.random.default_rng(0)))
    shown = np.concatenate([batch.images for batch in batches])
    assert len(shown) == len(set(shown)) == 4  # the fifth would be alone in its batch
    assert len(batches) == pairs.batches_per_epoch(2)
    for batch in batches:
        assert (pairs.image_rows[batch.expressions] == batch.images[batch.owner]).all()
        assert (np.diff(batch.owner) >= 0).all()  # in the order of the images
        assert set(batch.owner) == set(range(len(batch.images)))
        assert np.bincount(batch.owner).max() <= 2


def test_measured_are_the_phrases_with_boxes_or_all_where_there_are_none(tmp_path: Path) -> None:
    images, expressions = write_pairs(tmp_path)
    rows = tables.read_arrow("expressions", expressions).to_pylist()
    for boxed in ({"i2#1", "i4#0", "i4#3"}, set[str]()):
        rows = [{**row, "boxed": row["expression_id"] in boxed} for row in rows]
        tables.write("expressions", rows, expressions)
        pairs = Pairs(images, expressions, "train", ["phrase"])
        batches = list(pairs.in_order(2, only=pairs.measured))
        listed = [pairs.expression_ids[row] for batch in batches for row in batch.expressions]
        assert sorted(listed) == sorted(boxed or pairs.expression_ids)
        for batch in batches:
            assert (pairs.image_rows[batch.expressions] == batch.images[batch.owner]).all()


def test_what_a_caption_names_side_by_side(tmp_path: Path) -> None:
    images, expressions = write_pairs(tmp_path)
    rows = tables.read_arrow("expressions", expressions).to_pylist()
    texts = {"i3#0": "girl", "i3#1": "pink dress", "i3#2": "little girl", "i3#3": "Boat", "i4#0": "dress"}
    rows = [{**row, "text": texts.get(row["expression_id"], row["text"])} for row in rows]
    captions = {"c0": ("i3", "A girl, in a pink dress."), "c1": ("i3", "The little girl likes a boat")}
    rows += [
        {**rows[0], "expression_id": name, "image_id": image, "text": text, "kind": "sentence"}
        for name, (image, text) in captions.items()
    ]
    tables.write("expressions", rows, expressions)
    pairs = Pairs(images, expressions, "train", ["phrase"])
    (batch,) = pairs.in_order(100)
    names = np.array(pairs.expression_ids)[batch.expressions]
    together = pairs.side_by_side(batch)
    assert (together == together.T).all()
    found = {tuple(sorted(names[[a, b]])) for a, b in zip(*together.nonzero(), strict=True)}
    # "girl" of the second caption is the "little girl" there, yet it has the boat beside it
    assert found == {("i3#0", "i3#1"), ("i3#2", "i3#3"), ("i3#0", "i3#3")}


def test_an_epoch_may_end_after_so_many_images_drawn_anew(pairs: Pairs) -> None:
    rng = np.random.default_rng(0)
    shown = [np.concatenate([batch.images for batch in pairs.epoch(2, 1, rng, 3)]) for _ in range(9)]
    assert {len(images) for images in shown} == {2}  # the third would be alone in its batch
    assert pairs.batches_per_epoch(2, 3) == 1
    assert pairs.batches_per_epoch(2, 99) == pairs.batches_per_epoch(2)
    assert len(set(np.concatenate(shown))) == 5


def test_in_order_gives_every_expression_once(pairs: Pairs) -> None:
    batches = list(pairs.in_order(4))
    assert sorted(np.concatenate([batch.expressions for batch in batches])) == list(range(15))
    assert all(len(batch.expressions) <= 4 for batch in batches)
    for batch in batches:
        assert (pairs.image_rows[batch.expressions] == batch.images[batch.owner]).all()


def test_equal_texts_have_equal_ids(pairs: Pairs) -> None:
    ids = {}
    for text, text_id in zip(pairs.texts, pairs.text_ids.tolist(), strict=True):
        assert ids.setdefault(text, text_id) == text_id
    assert len(set(ids.values())) == len(ids)


def test_an_expression_of_an_unknown_image_is_refused(tmp_path: Path) -> None:
    images, expressions = write_pairs(tmp_path)
    tables.write("images", tables.read("images", images)[:-1], images)
    with pytest.raises(UserError, match=r"expressions.parquet: image 'i4' is not in .*rerun `data`"):
        Pairs(images, expressions, "train", ["phrase"])


def test_swaps_are_no_expressions_and_belong_to_one(with_swaps: Pairs) -> None:
    swaps = with_swaps.swaps
    assert len(with_swaps) == 15
    assert not any("swap" in text for text in with_swaps.texts)
    expected = [f"{origin}-swap{n}" for origin, count in SWAP_COUNTS.items() for n in range(count)]
    assert sorted(swaps.ids) == sorted(expected)
    for row, name in enumerate(swaps.ids):
        origin, number = name.split("-swap")
        assert with_swaps.expression_ids[swaps.origin[row]] == origin
        assert swaps.texts[row] == f"swap {number} of {origin}"
        assert swaps.word_classes[row] == SWAP_CLASSES[int(number)]
        assert swaps.false[row] == (number != "1")


def test_an_epoch_draws_a_random_swap_of_each_expression(with_swaps: Pairs) -> None:
    drawn: dict[int, set[int]] = {}
    rng = np.random.default_rng(0)
    for _ in range(40):
        for batch in with_swaps.epoch(5, 5, rng):
            assert len(batch.swaps) == len(batch.expressions)
            for row, swap in zip(batch.expressions.tolist(), batch.swaps.tolist(), strict=True):
                drawn.setdefault(row, set()).add(swap)
    for row in range(15):
        own = set(np.flatnonzero(with_swaps.swaps.origin == row).tolist())
        assert drawn[row] == (own or {-1})
    assert all((batch.swaps == -1).all() for batch in with_swaps.in_order(4))


def test_swaps_of_rare_word_classes_are_drawn_more_often(with_swaps: Pairs) -> None:
    """Of "i4#0", which has one of each class: there are four of size, two of colour, one of relation."""
    expression, rng = with_swaps.expression_ids.index("i4#0"), np.random.default_rng(0)
    drawn = [
        with_swaps.swaps.word_classes[int(batch.swaps[batch.expressions == expression][0])]
        for _ in range(600)
        for batch in with_swaps.epoch(5, 5, rng)
    ]
    for name, share in (("size", 1 / 7), ("colour", 2 / 7), ("relation", 4 / 7)):
        assert abs(drawn.count(name) / len(drawn) - share) < 0.07


def test_swaps_do_not_change_the_draws_of_images_and_expressions(pairs: Pairs, with_swaps: Pairs) -> None:
    """They come first in every batch."""
    without, beside = (next(iter(each.epoch(5, 2, np.random.default_rng(1)))) for each in (pairs, with_swaps))
    assert (without.images == beside.images).all()
    assert (without.expressions == beside.expressions).all()
    assert (without.swaps == -1).all()
    assert (beside.swaps >= 0).any()
