"""A trained grounder from its checkpoint: what training writes is what loading reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from camground.grounder import loading
from camground.grounder.grounder import Grounder
from camground.study.errors import UserError
from camground.training import grounder as training
from tiny_grounder import forward, tiny_inputs
from tiny_study import make_study, run_train


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("changes", [{}, {"own_gate": False, "cam_encoder": {"enabled": False}}])
def test_a_loaded_grounder_gives_what_the_trained_one_gave(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    trained: list[Grounder] = []

    def remembered(*arguments: Any) -> Grounder:
        trained.append(Grounder(*arguments))
        return trained[-1]

    monkeypatch.setattr(training, "Grounder", remembered)
    losses = {"attention_mining": {"omega": 7.0, "sigma": 0.3}, "reconstruction": 1.0}
    folder = run_train(paths, tmp_path / "out", grounder=changes, losses=losses)
    loaded = loading.load_grounder(folder)
    assert (loaded.omega, loaded.sigma) == (7.0, 0.3)
    assert loaded.tuned is None
    assert loaded.model.config == trained[0].config
    assert loaded.model.matcher.config == trained[0].matcher.config
    assert not loaded.model.training
    inputs = tiny_inputs()
    before, after = (forward(model.double(), inputs) for model in (trained[0], loaded.model))
    assert torch.equal(before.scores, after.scores)
    assert torch.equal(before.image_score.logit, after.image_score.logit)
    assert torch.equal(before.own_cam, after.own_cam)


def test_a_checkpoint_that_is_not_whole_or_of_another_version_is_refused(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    folder = run_train(paths, tmp_path / "out", epochs=1)
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    older = {name: value for name, value in saved.items() if name != "matcher"}
    (folder / "config.yaml").write_text(yaml.safe_dump(older))
    with pytest.raises(UserError, match=r"config.yaml lacks 'matcher'; rerun its training"):
        loading.load_grounder(folder)
    saved["grounder"]["transformer"]["layers"] = 2
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(UserError, match=r"the parameters are not those of its config.yaml"):
        loading.load_grounder(folder)
    with pytest.raises(UserError, match="not a whole checkpoint"):
        loading.load_grounder(tmp_path / "nowhere")
