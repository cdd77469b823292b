"""What choosing by boxes would have gained, and the kept epochs that it needs."""

import json

import pandas as pd
import pytest
import torch
from torch import nn

from camground.stages import selection
from camground.training.loop import OptimiserConfig, fit


def test_the_gap_is_of_the_epoch_that_boxes_on_val_choose():
    accuracy = pd.DataFrame({"val": [0.2, 0.5, 0.5], "test": [0.3, 0.4, 0.6]}, index=[1, 2, 3])
    found = selection.gap(accuracy, chosen=1)
    assert found["by_captions"] == {"epoch": 1, "test": 0.3}
    # test never chooses: of epochs 2 and 3, equal on val, the first
    assert found["by_boxes"] == {"epoch": 2, "test": 0.4}
    assert found["gap"] == pytest.approx(0.1)


def test_each_epoch_is_called_with_the_model_as_it_then_is():
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
        each_epoch=lambda epoch: seen.append((epoch, model.weight.item())),
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert seen[0][1] > seen[1][1] > seen[2][1]


def test_a_training_without_kept_epochs_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "summary.json").write_text(json.dumps({"best_epoch": 1}))
    names = [*selection.TABLES, "targets", "features"]
    given = [part for name in names for part in (f"--{name}", str(tmp_path / name))]
    given += ["--train-dir", str(tmp_path), "--output", str(tmp_path / "gap.json")]
    monkeypatch.setattr("sys.argv", ["selection", "--config", "{}", *given])
    with pytest.raises(selection.UserError, match="keep_epochs"):
        selection.main()
