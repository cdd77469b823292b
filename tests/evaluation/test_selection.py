"""What choosing by boxes would have gained, and the kept epochs that it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import evaluation_study as study
from camground.evaluation.ground_truth import GroundTruth
from camground.evaluation.selection import compare_choices, gap
from camground.study.errors import UserError
from camground.study.optimiser import OptimiserConfig
from camground.training.loop import fit


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return study.make(tmp_path / "study")


@pytest.fixture
def truth(paths: dict[str, Path]) -> GroundTruth:
    return study.ground_truth(paths)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The folder of a training of three epochs, of which captions chose the first."""
    folder = tmp_path / "train"
    for epoch in ("001", "002", "003"):
        (folder / "epochs" / epoch).mkdir(parents=True)
        (folder / "epochs" / epoch / "checkpoint.safetensors").touch()
    (folder / "summary.json").write_text(json.dumps({"best_epoch": 1}))
    return folder


@pytest.mark.parametrize("split", ["test", "testB"])
def test_the_gap_is_of_the_epoch_that_boxes_on_val_choose(split: str) -> None:
    accuracy = pd.DataFrame({"val": [0.2, 0.5, 0.5], split: [0.3, 0.4, 0.6]}, index=[1, 2, 3])
    found = gap(accuracy, 1, split)
    assert found["by_captions"] == {"epoch": 1, split: 0.3}
    # test never chooses: of epochs 2 and 3, equal on val, the first
    assert found["by_boxes"] == {"epoch": 2, split: 0.4}
    assert found["gap"] == pytest.approx(0.1)


def test_every_kept_epoch_is_predicted_with_and_evaluated(
    paths: dict[str, Path], truth: GroundTruth, training: Path
) -> None:
    def predict(checkpoint: Path, predictions: Path, swaps: Path) -> None:
        study.predict(paths, predictions, offset={"001": 40, "002": 0, "003": 40}[checkpoint.name])

    found = compare_choices(training, truth, "test", predict)
    assert found["by_captions"]["epoch"] == 1
    assert found["by_boxes"] == {"epoch": 2, "test": 1.0}
    assert found["gap"] > 0.5
    assert {epoch: values["val"] for epoch, values in found["epochs"].items()} == {1: 0, 2: 1, 3: 0}


def test_each_epoch_is_called_with_the_model_as_it_then_is() -> None:
    model = nn.Linear(1, 1, bias=False)
    seen = []
    fit(
        model,
        lambda rng: iter([torch.ones(1, 1)] * 2),
        2,
        lambda batch, step, total: {"loss": model(batch).sum()},
        lambda: {"score": 0.0},
        OptimiserConfig(epochs=3, learning_rate=0.1),
        seed=0,
        label="training",
        each_epoch=lambda epoch: seen.append((epoch, model.weight.item())),
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert seen[0][1] > seen[1][1] > seen[2][1]


def test_a_training_without_kept_epochs_and_a_split_without_boxes_are_named(
    truth: GroundTruth, training: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="keep_epochs"):
        compare_choices(tmp_path / "elsewhere", truth, "test", study.predict)
    with pytest.raises(UserError, match=r"boxes on val and on testA"):
        compare_choices(training, truth, "testA", study.predict)
    (training / "summary.json").unlink()
    with pytest.raises(UserError, match=r"summary\.json"):
        compare_choices(training, truth, "test", study.predict)
