"""Curves of running trainings: followed from their resume files, gone when they end; nothing can stop it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from camground.tracking import live
from camground.tracking.live import Follower, follow, live_runs
from camground.tracking.store import connect, find_store


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def epochs(results: Path, training: str, count: int) -> Path:
    """The resume file after so many epochs, as training replaces it."""
    rows = [
        {"step": 50 * epoch, "epoch": float(epoch), "name": name, "value": 1.0 / epoch}
        for epoch in range(1, count + 1)
        for name in ("train/loss", "val/score", "train/gradient_norm")
    ]
    file = results / "toy" / "resume" / training / "resume.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {"weight": torch.zeros(10)}, "history": rows}, file.with_suffix(".part"))
    return file.with_suffix(".part").rename(file)


def test_new_epochs_are_added_and_a_training_that_ended_goes(tmp_path: Path) -> None:
    store = find_store(tmp_path)
    follower = Follower(tmp_path, store)
    assert follower.update() == 0
    full, plain = epochs(tmp_path, "full-seed0", 2), epochs(tmp_path, "baseline-seed1", 1)
    assert follower.update() == 4 + 2
    assert follower.update() == 0
    epochs(tmp_path, "full-seed0", 3)
    assert follower.update() == 2
    client = connect(store)
    assert client.get_experiment_by_name("toy-detected") is not None
    runs = {run.data.tags["variant"]: run for run in live_runs(client)}
    assert runs.keys() == {"full-seed0", "baseline-seed1"}
    points = client.get_metric_history(runs["full-seed0"].info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(50, 1.0), (100, 0.5), (150, 1 / 3)]
    plain.unlink()
    follower.update()
    assert {run.data.tags["variant"] for run in live_runs(client)} == {"full-seed0"}
    # another one, after the first was killed, starts anew
    again = Follower(tmp_path, store)
    assert live_runs(client) == []
    assert again.update() == 6
    full.unlink()
    again.update()
    assert live_runs(client) == []


def test_a_file_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = epochs(tmp_path, "full-seed0", 1)
    whole = file.read_bytes()
    file.write_bytes(b"half")
    ended = threading.Event()
    updates = []

    class Counted(Follower):
        def update(self) -> int:
            updates.append(len(updates))
            if len(updates) == 3:
                file.write_bytes(whole)
            new = super().update()
            ended.set()
            return new

    monkeypatch.setattr(live, "Follower", Counted)
    follow(tmp_path, find_store(tmp_path), ended, interval=0.01)
    assert len(updates) == 3
    assert caplog.text.count("curves of running trainings") == 1
    assert len(live_runs(connect(find_store(tmp_path)))) == 1
