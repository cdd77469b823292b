"""The training loop: it learns, it resumes to the same bytes, and it refuses what it cannot use."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from camground.data.pairs import Pairs
from camground.grounder.batches import CamTable, GroundingData, ProposalTable
from camground.study import tables
from camground.study.errors import UserError
from camground.training.loop import OptimiserConfig, fit, load_checkpoint, prepare, save_checkpoint


class Stopped(Exception):
    """Stands for a machine that goes down."""


def run(tmp_path, name, epochs=4, stop_after=None, identity="a"):
    prepare(3, 1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    count = itertools.count(1)

    def validate():
        if stop_after is not None and next(count) > stop_after:
            raise Stopped
        return {"score": -float(((model(x) - y) ** 2).mean())}

    fitted = fit(
        model,
        lambda rng: iter(np.split(rng.permutation(64), 8)),
        8,
        lambda batch, step, total: {"loss": ((model(x[batch]) - y[batch]) ** 2).mean()},
        validate,
        OptimiserConfig(epochs=epochs, learning_rate=0.02),
        seed=3,
        resume=tmp_path / f"{name}.pt",
        identity=identity,
    )
    return model, fitted


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path):
    whole, fitted = run(tmp_path, "whole")
    with pytest.raises(Stopped):
        run(tmp_path, "broken", stop_after=2)
    resumed, again = run(tmp_path, "broken")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [row["value"] for row in fitted.history] == [row["value"] for row in again.history]
    assert fitted.best_epoch == again.best_epoch


def test_a_value_of_some_steps_is_logged_as_its_mean_over_those_steps():
    model = nn.Linear(1, 1)

    def losses(batch, step, total):
        assert total == 8
        sometimes = {"mined": torch.tensor(float(step))} if step % 2 else {}
        return {"loss": model.weight.square().sum(), **sometimes}

    config = OptimiserConfig(epochs=2)
    fitted = fit(model, lambda rng: iter(range(4)), 4, losses, lambda: {"score": 0.0}, config, 0)
    mined = [row["value"] for row in fitted.history if row["name"] == "train/mined"]
    assert mined == [2.0, 6.0]  # steps 1 and 3, then 5 and 7


def test_a_resume_file_of_another_identity_is_passed_over(tmp_path):
    whole, _ = run(tmp_path, "whole")
    with pytest.raises(Stopped):
        run(tmp_path, "broken", stop_after=2, identity="of an older config")
    saved = torch.load(tmp_path / "broken.pt", weights_only=False)
    for value in saved["model"].values():
        value.zero_()
    torch.save(saved, tmp_path / "broken.pt")
    again, fitted = run(tmp_path, "broken")
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    (tmp_path / "broken.pt").write_bytes(b"torn")
    assert run(tmp_path, "broken")[1].best_epoch == fitted.best_epoch


def test_training_lowers_the_loss_and_keeps_the_best_epoch(tmp_path):
    _, fitted = run(tmp_path, "learn", epochs=8)
    scores = [row["value"] for row in fitted.history if row["name"] == "val/score"]
    assert max(scores) > scores[0] * 0.5
    assert fitted.best_score == max(scores)
    assert scores[fitted.best_epoch] == max(scores)


def test_a_diverging_loss_is_named(tmp_path):
    model = nn.Linear(1, 1)
    with pytest.raises(UserError, match="loss is nan at step 0"):
        fit(
            model,
            lambda rng: iter([0]),
            1,
            lambda batch, step, total: {"loss": model.weight.sum() * float("nan")},
            lambda: {"score": 0.0},
            OptimiserConfig(epochs=1),
            seed=0,
        )


def test_checkpoints_round_trip_and_a_broken_one_is_refused(tmp_path):
    model, fitted = run(tmp_path, "save")
    save_checkpoint(tmp_path / "out", model, {"model": {"width": 8}}, fitted, {"images": 64})
    config, state = load_checkpoint(tmp_path / "out")
    assert config == {"model": {"width": 8}}
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert len(tables.read("history", tmp_path / "out" / "history.parquet"))
    (tmp_path / "out" / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="not a whole checkpoint"):
        load_checkpoint(tmp_path / "out")


@pytest.fixture
def small(tmp_path):
    images = [
        {"image_id": f"i{n}", "path": f"{n}.png", "width": 40, "height": 20, "split": "train"}
        for n in range(5)
    ]
    expressions = [
        {
            "expression_id": f"i{n}#{k}",
            "image_id": f"i{n}",
            "text": f"thing {n * k}",
            "kind": "phrase",
            "split": "train",
            "swap_of": None,
            "word_class": None,
            "false_of_image": None,
        }
        for n in range(5)
        for k in range(n + 1)
    ]
    tables.write("images", images, tmp_path / "images.parquet")
    tables.write("expressions", expressions, tmp_path / "expressions.parquet")
    return tmp_path


def test_an_epoch_shows_every_image_once(small):
    pairs = Pairs(small / "images.parquet", small / "expressions.parquet", "train", ["phrase"])
    batches = list(pairs.epoch(2, 2, np.random.default_rng(0)))
    shown = np.concatenate([batch.images for batch in batches])
    assert len(shown) == len(set(shown)) == 4  # the fifth would be alone in its batch
    assert len(batches) == pairs.batches_per_epoch(2)
    for batch in batches:
        own = pairs.image_rows[batch.expressions]
        assert (own == batch.images[batch.owner]).all()
        assert np.bincount(batch.owner).max() <= 2


def test_an_epoch_may_end_after_so_many_images_drawn_anew(small):
    pairs = Pairs(small / "images.parquet", small / "expressions.parquet", "train", ["phrase"])
    rng = np.random.default_rng(0)
    shown = [
        np.concatenate([batch.images for batch in pairs.epoch(2, 1, rng, 3)]) for _ in range(9)
    ]
    assert {len(images) for images in shown} == {2}  # the third would be alone in its batch
    assert pairs.batches_per_epoch(2, 3) == 1
    assert pairs.batches_per_epoch(2, 99) == pairs.batches_per_epoch(2)
    assert len(set(np.concatenate(shown))) == 5


def test_in_order_gives_every_expression_once(small):
    pairs = Pairs(small / "images.parquet", small / "expressions.parquet", "train", ["phrase"])
    given = np.concatenate([batch.expressions for batch in pairs.in_order(4)])
    assert sorted(given) == list(range(15))
    assert all(len(batch.expressions) <= 4 for batch in pairs.in_order(4))


@pytest.fixture
def with_swaps(small):
    """`small`, with swaps of some expressions, before and after them, and one of another split."""
    rows = tables.read_arrow("expressions", small / "expressions.parquet").to_pylist()
    made = [("i1#0", 2), ("i4#3", 1), ("i4#0", 3), ("i0#0", 1)]
    changed = [
        {
            **next(row for row in rows if row["expression_id"] == origin),
            "expression_id": f"{origin}-swap{n}",
            "text": f"swap {n} of {origin}",
            "kind": "swap",
            "swap_of": origin,
            "word_class": ("size", "colour", "relation")[n],
            "false_of_image": n != 1,
        }
        for origin, count in made
        for n in range(count)
    ]
    elsewhere = {**changed[-1], "expression_id": "x", "split": "val"}
    orphan = {**changed[-1], "expression_id": "y", "swap_of": "sentence"}
    rows = [*changed[:3], *rows, elsewhere, *changed[3:], orphan]
    tables.write("expressions", rows, small / "expressions.parquet")
    return Pairs(small / "images.parquet", small / "expressions.parquet", "train", ["phrase"])


def test_swaps_are_no_expressions_and_belong_to_one(with_swaps):
    pairs, swaps = with_swaps, with_swaps.swaps
    assert len(pairs) == 15
    assert not any("swap" in text for text in pairs.texts)
    assert sorted(swaps.ids) == sorted(
        [f"{i}-swap{n}" for i, count in (("i1#0", 2), ("i4#0", 3)) for n in range(count)]
        + ["i4#3-swap0", "i0#0-swap0"]
    )
    for text, name, of, kind, false in zip(
        swaps.texts, swaps.ids, swaps.of, swaps.word_classes, swaps.false, strict=True
    ):
        origin, number = name.split("-swap")
        assert pairs.expression_ids[of] == origin
        assert text == f"swap {number} of {origin}"
        assert kind == ("size", "colour", "relation")[int(number)]
        assert false == (number != "1")


def test_an_epoch_draws_a_random_swap_of_each_expression(with_swaps):
    pairs, drawn = with_swaps, {}
    rng = np.random.default_rng(0)
    for _ in range(40):
        for batch in pairs.epoch(5, 5, rng):
            assert len(batch.swaps) == len(batch.expressions)
            for row, swap in zip(batch.expressions.tolist(), batch.swaps.tolist(), strict=True):
                drawn.setdefault(row, set()).add(swap)
    for row in range(15):
        wanted = set(np.flatnonzero(pairs.swaps.of == row).tolist()) or {-1}
        assert drawn[row] == wanted
    assert all((batch.swaps == -1).all() for batch in pairs.in_order(4))


def test_without_swaps_the_epochs_are_what_they_were(small, with_swaps):
    """The draws of images and expressions come first in every batch."""
    pairs = Pairs(small / "images.parquet", small / "expressions.parquet", "train", ["phrase"])
    pairs._swaps_of = {}
    one, two = (next(iter(p.epoch(5, 2, np.random.default_rng(1)))) for p in (pairs, with_swaps))
    assert (one.images == two.images).all()
    assert (one.expressions == two.expressions).all()
    assert (one.swaps == -1).all()
    assert (two.swaps >= 0).any()


class Store:
    """Stands for a FeatureStore: the number of an image, the length of a text."""

    def images(self, rows):
        return torch.as_tensor(rows).float().view(-1, 1, 1, 1)

    def texts(self, texts):
        tokens = torch.tensor([[[float(len(text))]] for text in texts]).view(len(texts), 1, 1)
        return tokens, torch.ones(len(texts), 1, dtype=torch.bool)


def test_a_batch_is_loaded_with_its_swaps(small, with_swaps):
    pairs = with_swaps
    cam = np.zeros((4, 4), dtype=np.uint8)
    cam[1:3, 1:3] = 255
    row = {"expression_id": "i4#0", "height": 4, "width": 4, "map": cam.tobytes(), "source": "x"}
    tables.write("cams", [row], small / "cams.parquet")
    tables.write("proposals", [], small / "proposals.parquet")
    proposals = ProposalTable(small / "images.parquet", small / "proposals.parquet")
    data = GroundingData(pairs, Store(), proposals, small / "cams.parquet", 0.5)
    for batch in pairs.epoch(3, 3, np.random.default_rng(2)):
        loaded = data.load(batch, torch.device("cpu"))
        assert loaded.swapped.tolist() == (batch.swaps >= 0).tolist()
        swaps = batch.swaps[batch.swaps >= 0]
        lengths = [len(pairs.swaps.texts[swap]) for swap in swaps]
        assert loaded.swap_tokens[:, 0, 0].tolist() == lengths
        assert loaded.swap_mask.shape == (len(swaps), 1)
        assert loaded.swap_false.tolist() == pairs.swaps.false[swaps].tolist()
        assert loaded.swap_false.dtype == torch.bool
        known = [pairs.expression_ids[row] == "i4#0" for row in batch.expressions]
        assert loaded.cam_known.tolist() == known
    (alone,) = (batch for batch in pairs.in_order(20) if len(batch.expressions))
    nothing = data.load(alone, torch.device("cpu"))
    assert not nothing.swapped.any()
    assert nothing.swap_false.shape == nothing.swap_mask.shape[:1] == (0,)


def test_proposals_are_shares_of_the_image_and_padding_is_invalid(small):
    rows = [
        {"image_id": "i0", "rank": 0, "box_xyxy": [0, 0, 20, 10], "objectness": 0.9, "source": "x"},
        {
            "image_id": "i0",
            "rank": 1,
            "box_xyxy": [20, 10, 40, 20],
            "objectness": 0.1,
            "source": "x",
        },
        {"image_id": "i3", "rank": 0, "box_xyxy": [0, 0, 40, 20], "objectness": 0.5, "source": "x"},
    ]
    tables.write("proposals", rows, small / "proposals.parquet")
    table = ProposalTable(small / "images.parquet", small / "proposals.parquet")
    assert table.boxes[0].tolist() == [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]
    assert table.valid.tolist() == [
        [True, True],
        [False] * 2,
        [False] * 2,
        [True, False],
        [False] * 2,
    ]


def test_cam_boxes_surround_the_thresholded_map(tmp_path):
    cam = np.zeros((8, 8), dtype=np.uint8)
    cam[2:5, 1:7] = 255
    row = {"expression_id": "a", "height": 8, "width": 8, "map": cam.tobytes(), "source": "x"}
    tables.write("cams", [row], tmp_path / "cams.parquet")
    table = CamTable(tmp_path / "cams.parquet", ["a", "b"], 0.5)
    cams, known, boxes = table.take(np.array([1, 0]))
    assert known.tolist() == [False, True]
    assert cams[1].sum() == 18
    assert boxes[1].tolist() == pytest.approx([1 / 8, 2 / 8, 7 / 8, 5 / 8], abs=0.04)
