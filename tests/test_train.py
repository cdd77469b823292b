"""The training loop: it learns, it resumes to the same bytes, and it refuses what it cannot use."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from camground import tables
from camground.errors import UserError
from camground.grounding_data import CamTable, ProposalTable
from camground.pairs import Pairs
from camground.training import OptimiserConfig, fit, load_checkpoint, prepare, save_checkpoint


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


def test_in_order_gives_every_expression_once(small):
    pairs = Pairs(small / "images.parquet", small / "expressions.parquet", "train", ["phrase"])
    given = np.concatenate([batch.expressions for batch in pairs.in_order(4)])
    assert sorted(given) == list(range(15))
    assert all(len(batch.expressions) <= 4 for batch in pairs.in_order(4))


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
