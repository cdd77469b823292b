"""Stage `tuning`: the backbone's last stages learn from captions, and what is made of them uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from camground.features.backbone import Backbone
from camground.features.config import BACKBONE, FeaturesConfig
from camground.features.store import FeatureStore
from camground.grounder.loading import load_grounder
from camground.grounder.model_folder import GroundingSettings, save_model
from camground.pipeline import GroundingPipeline
from camground.stages.tuning import tuning
from camground.study import tables
from camground.study.errors import UserError
from conftest import Workflow
from tiny_study import make_photograph_study, run_train, some_calibration, write_matcher


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_photograph_study(tmp_path_factory.mktemp("study"))


def features_of(paths: dict[str, Path], weights: Path | None = None) -> dict[str, Any]:
    """The study's section `features`."""
    section: dict[str, Any] = json.loads((paths["features"] / "features.json").read_text())["config"]
    section["backbone"]["weights"] = None if weights is None else str(weights)
    return section


def run_tuning(paths: dict[str, Path], output: Path, resume: Path | None = None, **optimiser: Any) -> Path:
    """The stage, of the backbone's last stage; the file of its weights."""
    config = {
        "seed": 0,
        "features": features_of(paths),
        "matcher": {"width": 16, "relations": 0},
        "tuning": {"stages": 1, "optimiser": {"epochs": 2, "batch_size": 2, "per_image": 1, **optimiser}},
    }
    tuning(json.dumps(config), paths["images"], paths["expressions"], output, resume, 2)
    return output / BACKBONE


@pytest.fixture(scope="module")
def weights(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_tuning(paths, tmp_path_factory.mktemp("tuning"))


def backbone(paths: dict[str, Path], weights: Path | None) -> Backbone:
    return Backbone(FeaturesConfig.parse(features_of(paths, weights)).backbone)


def test_the_last_stage_changes_and_no_other(paths: dict[str, Path], weights: Path) -> None:
    before = backbone(paths, None).body.state_dict()
    after = backbone(paths, weights).body.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert {name.split(".")[0] for name in changed} == {"layer3"}
    assert not {name for name in changed if "running" in name}  # batch norm keeps its statistics
    assert after.keys() == load_file(weights).keys()


def test_the_same_seed_gives_the_same_bytes_interrupted_or_not(
    paths: dict[str, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camground.training import loop

    epochs = []

    def interrupted(*arguments: Any) -> Any:
        epochs.append(arguments)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return loop.Validation(joined(*arguments).values)

    joined = loop.joined
    monkeypatch.setattr(loop, "joined", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tuning(paths, tmp_path / "out", tmp_path / "resume")
    assert (tmp_path / "resume" / "resume.pt").exists()
    monkeypatch.setattr(loop, "joined", joined)
    again = run_tuning(paths, tmp_path / "out", tmp_path / "resume")
    assert again.read_bytes() == weights.read_bytes()


def test_features_are_those_of_the_tuned_backbone(
    paths: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    for name in ("images", "expressions"):
        table = tables.read(name, paths[name])
        if name == "images":
            table["path"] = [str(path) for path in tables.image_paths(paths[name])]
        tables.write(name, table, tmp_path / f"{name}.parquet")
    store = tiny_models.run_features(tmp_path, features_of(paths, weights))
    frozen = FeatureStore(paths["features"]).images([0, 1])
    tuned = store.images([0, 1])
    assert not torch.allclose(tuned, frozen, atol=1e-2)
    from camground.features.tuned import load_pixels

    network = backbone(paths, weights)
    pixels = load_pixels(tables.image_paths(paths["images"]), [0, 1], network)
    with torch.no_grad():
        np.testing.assert_allclose(tuned, network(pixels), atol=5e-3)


def test_a_model_folder_travels_with_its_backbone(
    paths: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    """It is opened where the study's folder is not."""
    made = tmp_path / "tuning" / BACKBONE
    made.parent.mkdir()
    shutil.copyfile(weights, made)
    cache = tmp_path / "features"
    shutil.copytree(paths["features"], cache)
    meta = json.loads((cache / "features.json").read_text()) | {"config": features_of(paths, made)}
    (cache / "features.json").write_text(json.dumps(meta))
    study = {**paths, "features": cache}
    store = FeatureStore(cache)
    study["matcher"] = write_matcher(tmp_path / "matcher", store.visual_channels, store.text_width)
    checkpoint = run_train(study, tmp_path / "train", per_image=1)
    settings = GroundingSettings.parse({"proposals": {}, "gradcam": {"method": "gradcam"}, "predict": {}})
    calibration = some_calibration(tmp_path)
    folder = save_model(checkpoint, study["matcher"], calibration, settings, tmp_path / "model")
    made.unlink()
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    pipeline = GroundingPipeline.from_pretrained(moved)
    expected = load_file(weights)
    for name, value in pipeline.backbone.body.state_dict().items():
        assert torch.equal(value, expected[name])
    # a model of a study that tunes nothing has none
    plain = run_train(paths, tmp_path / "plain", per_image=1)
    assert not (save_model(plain, paths["matcher"], calibration, settings, moved) / BACKBONE).exists()
    assert load_grounder(plain).features.backbone.weights is None


def test_weights_that_are_missing_torn_or_of_another_network_are_refused(
    paths: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors: no whole file of weights .*rerun `tuning`"):
        backbone(paths, tmp_path / "none.safetensors")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="no whole file of weights"):
        backbone(paths, torn)
    other = {**features_of(paths, weights)["backbone"], "name": "timm/resnet18"}
    with pytest.raises(UserError, match="not those of the network that features"):
        Backbone(FeaturesConfig.parse({"backbone": other}).backbone)


def test_the_workflow_tunes_before_features_where_the_study_says_so(workflow: Workflow) -> None:
    plain = workflow.dry("--configfile", "configs/smoke.yaml")
    assert "tuning" not in plain.text.split()
    tuned = workflow.dry("--configfile", "configs/smoke.yaml", "--config", "tuning={stages: 2}")
    assert tuned.status == 0, tuned.text
    assert "Tune the backbone" in tuned.text
