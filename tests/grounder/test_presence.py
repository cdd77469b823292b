"""Whether a phrase is in the picture: pairs of one's own and others' phrases, and Platt's scaling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from camground.data.pairs import Pairs
from camground.grounder.batches import ProposalTable
from camground.grounder.loading import load_grounder
from camground.grounder.presence import (
    Calibration,
    calibrate,
    fit,
    other_phrases,
    read_calibration,
    write_calibration,
)
from camground.study import tables
from camground.study.errors import UserError
from tiny_study import make_study, run_predict, run_train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_study(tmp_path_factory.mktemp("study"))


def pairs_of(folder: Path, texts: dict[str, list[str]]) -> Pairs:
    """The phrases of each image, by its id."""
    images = [
        {"image_id": name, "path": f"{name}.png", "width": 8, "height": 8, "split": "val"} for name in texts
    ]
    rows = [
        {"expression_id": f"{name}{n}", "image_id": name, "text": text, "kind": "phrase", "split": "val"}
        for name, listed in texts.items()
        for n, text in enumerate(listed)
    ]
    empty = {"boxed": None, "swap_of": None, "word_class": None, "false_of_image": None}
    tables.write("images", images, folder / "images.parquet")
    tables.write("expressions", [row | empty for row in rows], folder / "expressions.parquet")
    return Pairs(folder / "images.parquet", folder / "expressions.parquet", "val", ["phrase"])


def test_other_phrases_are_of_other_images_and_not_among_the_images_own(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, {"a": ["a boat", "a dog"], "b": ["A Boat", "a cat"], "c": ["a dog"]})
    other = other_phrases(pairs)
    words = [text.casefold() for text in pairs.texts]
    for row, drawn in enumerate(other):
        of_image = {words[each] for each in np.flatnonzero(pairs.image_rows == pairs.image_rows[row])}
        assert words[drawn] not in of_image
    assert (other == other_phrases(pairs)).all()
    # of the first image the cat alone is foreign
    assert [pairs.texts[row] for row in other[:2]] == ["a cat", "a cat"]
    alone = pairs_of(tmp_path, {"a": ["a boat", "a dog"], "b": ["a dog"]})
    assert other_phrases(alone).tolist() == [-1, -1, 0]
    assert len(other_phrases(pairs_of(tmp_path, {"a": []}))) == 0


def test_the_scaling_gives_back_the_probabilities_that_logits_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 3, 40_000)
    own = rng.random(len(logits)) < 1 / (1 + np.exp(-(0.8 * logits + 2.4)))
    # as many of either kind, so that neither is weighed
    count = min(own.sum(), (~own).sum())
    found = fit(logits[own][:count], logits[~own][:count])
    assert found.slope == pytest.approx(0.8, abs=0.05)
    # the odds that the smaller half was drawn with
    odds = np.log(own.sum() / (~own).sum())
    assert found.bias == pytest.approx(2.4 - odds, abs=0.1)
    assert (found.own, found.other) == (count, count)


def test_a_few_pairs_give_no_certainty_and_a_wrong_order_no_slope() -> None:
    few = fit(np.array([2.0]), np.array([-2.0]))
    probability = few.probability(torch.tensor([2.0, -2.0]))
    assert probability.tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-3)
    wrong = fit(np.full(50, -1.0), np.full(50, 1.0))
    assert wrong.slope == 0
    assert wrong.probability(torch.tensor([-9.0, 9.0])).tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert fit(np.ones(3), np.zeros(0)) == Calibration()


def test_it_is_written_and_read(tmp_path: Path) -> None:
    calibration = Calibration(slope=0.5, bias=-1.0, own=2, other=2)
    write_calibration(calibration, tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == calibration
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(UserError, match=r"c\.json: cannot be read"):
        read_calibration(tmp_path / "c.json")


def test_predict_calibrates_on_val_and_scores_others_phrases(paths: dict[str, Path], tmp_path: Path) -> None:
    # one phrase of each image, for all have the same three
    expressions = tables.read("expressions", paths["expressions"])
    number = expressions["image_id"].str.removeprefix("i").astype(int)
    kept = expressions["expression_id"].str.endswith(tuple("012")) & (expressions["kind"] == "phrase")
    kept &= expressions["expression_id"].str[-1].astype(int) == number // 4 % 3
    tables.write("expressions", expressions[kept], tmp_path / "expressions.parquet")
    paths = {**paths, "expressions": tmp_path / "expressions.parquet"}
    folder = run_train(paths, tmp_path / "train")
    output, _ = run_predict(paths, folder, tmp_path, splits=["test"])
    calibration = read_calibration(tmp_path / "calibration.json")
    trained = load_grounder(folder)
    store = trained.open_store(paths["features"], paths["images"])
    proposals = ProposalTable(paths["images"], paths["proposals"])
    inputs = [Pairs(paths["images"], paths["expressions"], split, ["phrase"]) for split in ("val", "test")]
    assert calibrate(trained, store, proposals, inputs[0], 3, CPU).slope == pytest.approx(
        calibration.slope, abs=1e-3
    )
    assert calibration.own == len(inputs[0])
    predictions = tables.read("predictions", output).set_index("expression_id")
    pairs, other = inputs[1], other_phrases(inputs[1])
    for row, name in enumerate(pairs.expression_ids):
        if name not in predictions.index:
            continue
        logits = []
        for text in (pairs.texts[row], pairs.texts[other[row]]):
            image = np.array([pairs.image_rows[row]])
            model = trained.model
            with torch.no_grad():
                seen = model.see(model.matcher.trunk(store.images(image)), proposals.take(image))
                logits.append(model.image_score(seen, model.matcher.read(*store.texts([text]))).logit)
        expected = calibration.probability(torch.cat(logits)).tolist()
        found = predictions.loc[name, ["presence", "presence_other"]].tolist()
        assert found == pytest.approx(expected, abs=1e-4)
