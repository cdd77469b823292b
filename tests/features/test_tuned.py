"""`train.tuned`: the last stages of backbone and language encoder train, are kept, and are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import tiny_models
from camground.data.pairs import Pairs
from camground.features.config import FeaturesConfig, LanguageConfig
from camground.features.store import FeatureStore
from camground.features.tuned import (
    PREFIX,
    TunedFeatures,
    TunedStore,
    backbone_pass,
    load_pixels,
    trained_features,
)
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.grounder import Grounder
from camground.grounder.loading import load_grounder
from camground.matcher.matcher import load_matcher
from camground.stages.config import StudyConfig
from camground.study import tables
from camground.study.checkpoints import load_checkpoint, save_checkpoint
from camground.study.errors import UserError
from camground.training import attention_mining, loop
from camground.training.config import LossesConfig
from camground.training.grounder import image_eraser
from camground.training.objective import Objective
from conftest import Workflow
from tiny_grounder import tiny_config
from tiny_study import make_photograph_study, run_predict, run_train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_photograph_study(tmp_path_factory.mktemp("study"))


def networks(paths: dict[str, Path], backbone: int = 0, language: int = 0) -> TunedFeatures:
    """The study's networks, of which so many stages and layers train."""
    meta = json.loads((paths["features"] / "features.json").read_text())
    return TunedFeatures(FeaturesConfig.parse(meta["config"]), backbone, language)


def store_of(paths: dict[str, Path], features: TunedFeatures) -> TunedStore:
    return TunedStore(paths["features"], paths["images"], features)


def train(paths: dict[str, Path], output: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The stage `train` with one text per image; the config and the parameters of its checkpoint."""
    return load_checkpoint(run_train(paths, output, seed=3, per_image=1, **options))


def test_the_frozen_networks_give_what_the_cache_holds(paths: dict[str, Path]) -> None:
    cached = store_of(paths, networks(paths))
    tuned = store_of(paths, networks(paths, backbone=1, language=1))
    assert torch.equal(cached.images([2, 0]), FeatureStore(paths["features"]).images([2, 0]))
    assert torch.allclose(tuned.images([2, 0]), cached.images([2, 0]), atol=5e-3)
    texts = tiny_models.TEXTS[:2]
    (tokens, mask), (cached_tokens, cached_mask) = tuned.texts(texts), cached.texts(texts)
    for row in range(2):
        own, expected = tokens[row][mask[row]], cached_tokens[row][cached_mask[row]]
        assert torch.allclose(own, expected, atol=5e-3)
    assert tuned.images([0]).requires_grad
    assert tokens.requires_grad
    assert tuned.texts([])[0].shape == (0, 1, 16)


def test_the_last_stages_train_and_no_others(paths: dict[str, Path]) -> None:
    one = networks(paths, backbone=1, language=1).trained()
    assert {name.split(".")[2] for name in one if name.startswith("backbone")} == {"layer3"}
    assert {name.rpartition("layer.")[2][0] for name in one if name.startswith("lang")} == {"1"}
    two = networks(paths, backbone=2, language=2).trained()
    assert {name.split(".")[2] for name in two if "backbone" in name} == {"layer2", "layer3"}
    assert one.keys() < two.keys()
    every = networks(paths, backbone=99, language=99)
    used = [name for name, _ in every.named_parameters() if "pooler" not in name]
    assert set(every.trained()) == set(used)
    assert "backbone.body.conv1.0.weight" in used


@pytest.mark.parametrize("kind", ["resnet", "convnext", "swin", "dinov2"])
def test_stages_of_auto_backbones(kind: str, tmp_path: Path) -> None:
    folder = tiny_models.backbone(kind, tmp_path)
    backbone = {"name": f"auto/{folder}", "image_size": 56, "levels": [2], "output_stride": None}
    config = FeaturesConfig.parse({"backbone": {**backbone, "grid": None}})
    names = list(TunedFeatures(config, 1, 0).trained())
    # level 2 comes from the second stage, with number 1; those behind it do not count
    stages = {name.split("layers." if kind == "swin" else "stages.")[-1][0] for name in names}
    if kind == "dinov2":
        stages = {name.split("layer.")[-1][0] for name in names if ".layer." in name}
    assert stages - {"b"} == {"1"}
    assert len(TunedFeatures(config, 2, 0).trained()) > len(names)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "clip", "t5"])
def test_layers_of_text_encoders(kind: str, tmp_path: Path) -> None:
    folder = tiny_models.text_encoder(kind, tmp_path)
    config = FeaturesConfig(language=LanguageConfig(name=str(folder), max_tokens=8))
    last = TunedFeatures(config, 0, 1).trained()
    every = TunedFeatures(config, 0, 2).trained()
    assert last
    assert not any(".0." in name.split("block.")[-1][:2] for name in last)
    assert not any("embed" in name for name in last)
    assert any("embed" in name or "shared" in name for name in every)


def test_a_training_moves_the_tuned_parameters_alone_and_keeps_them(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    before = networks(paths, backbone=1, language=1).trained()
    before = {name: value.detach().clone() for name, value in before.items()}
    tuned = {"backbone": 1, "language": 1}
    options = {"learning_rate": 1e-3, "batch_size": 2, "epochs": 1}  # two steps
    saved, state = train(paths, tmp_path / "out", tuned=tuned, **options)
    assert saved["train"]["tuned"] == {**tuned, "rate": 0.1}
    kept = {name.removeprefix(PREFIX): state[name] for name in state if name.startswith(PREFIX)}
    assert kept.keys() == before.keys()
    moved = [float((kept[name] - value).abs().max()) for name, value in before.items()]
    assert min(moved) > 0
    # at a tenth of the rate: AdamW's step is at most about the rate, and there were two
    assert max(moved) < 3 * 1e-4
    trained = load_grounder(tmp_path / "out")
    assert state.keys() - trained.model.state_dict().keys() == {PREFIX + name for name in kept}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    fixed = state["matcher.scale"].numel()
    assert summary["parameters"] == sum(value.numel() for value in state.values()) - fixed
    # the checkpoint gives back the same features, frozen
    images = trained.open_store(paths["features"], paths["images"]).images([0])
    assert not images.requires_grad
    again = trained_features(FeaturesConfig.parse(saved["features"]), 1, 1, state)
    assert again is not None
    assert torch.equal(images, store_of(paths, again).images([0]))
    assert not torch.equal(images, store_of(paths, networks(paths, 1, 1)).images([0]))


def test_without_it_nothing_changes(paths: dict[str, Path], tmp_path: Path) -> None:
    _, plain = train(paths, tmp_path / "a")
    _, zero = train(paths, tmp_path / "b", tuned={"backbone": 0, "language": 0})
    assert plain.keys() == zero.keys()
    assert not any(name.startswith(PREFIX) for name in plain)
    assert all(torch.equal(plain[name], zero[name]) for name in plain)
    assert load_grounder(tmp_path / "a").tuned is None


def test_a_grounder_begins_alike_with_and_without_it(paths: dict[str, Path], tmp_path: Path) -> None:
    _, plain = train(paths, tmp_path / "a", learning_rate=1e-12)
    _, tuned = train(paths, tmp_path / "b", learning_rate=1e-12, tuned={"backbone": 1})
    assert all(torch.allclose(tuned[name], value, atol=1e-7) for name, value in plain.items())


def test_an_interrupted_training_goes_on_to_the_very_parameters(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = {"backbone": 1, "language": 1}
    _, whole = train(paths, tmp_path / "whole", tuned=tuned, epochs=3)

    class Interrupted(Exception):
        pass

    joined, count = loop.joined, iter(range(9))

    def stop(parts: list[loop.Validation]) -> loop.Validation:
        if next(count) == 1:
            raise Interrupted
        return joined(parts)

    options = {"tuned": tuned, "epochs": 3, "resume": tmp_path / "resume"}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "joined", stop)
        with pytest.raises(Interrupted):
            train(paths, tmp_path / "two", **options)
    kept = torch.load(tmp_path / "resume" / "resume.pt", weights_only=True)
    assert kept["done"] == 1
    messages: list[str] = []
    monkeypatch.setattr(loop.log, "info", lambda text, *values: messages.append(text % values))
    _, two = train(paths, tmp_path / "two", **options)
    assert any("resuming after epoch 1" in message for message in messages)
    assert whole.keys() == two.keys()
    assert all(torch.equal(whole[name], two[name]) for name in whole)


def predicted(paths: dict[str, Path], checkpoint: Path, folder: Path) -> pd.DataFrame:
    output, _ = run_predict(paths, checkpoint, folder, splits=["val"])
    return tables.read("predictions", output).set_index("expression_id")


def test_predictions_use_the_networks_that_were_trained_along(paths: dict[str, Path], tmp_path: Path) -> None:
    options = {"tuned": {"backbone": 2, "language": 1, "rate": 1.0}, "learning_rate": 0.01}
    mining = {"attention_mining": {"weight": 0.0}}
    saved, state = train(paths, tmp_path / "out", losses=mining, epochs=3, **options)
    table = predicted(paths, tmp_path / "out", tmp_path)
    # the same grounder on the frozen features gives other scores
    own = {name: value for name, value in state.items() if not name.startswith(PREFIX)}
    saved["train"]["tuned"] = {"backbone": 0, "language": 0}
    save_checkpoint(tmp_path / "frozen", own, saved)
    other = predicted(paths, tmp_path / "frozen", tmp_path)
    assert (table["image_score"] - other["image_score"]).abs().min() > 1e-3


def mined(paths: dict[str, Path], features: TunedFeatures, **mining: Any) -> torch.Tensor:
    """The mining term of one batch, with everything in its graph."""
    store = store_of(paths, features)
    proposals = ProposalTable(paths["images"], paths["proposals"])
    pairs = Pairs(paths["images"], paths["expressions"], "train", ["phrase"])
    data = GroundingData(pairs, store, proposals, paths["cams"], [0.4])
    torch.manual_seed(0)
    model = Grounder(load_matcher(paths["matcher"]), tiny_config())
    section = {"weight": 1.0, "size_weight": 0.0, **mining}
    losses = LossesConfig.parse({"attention_mining": section})
    backbone = features.backbone if mining["erase"] == "image" else None
    frozen = losses.attention_mining.scorer == "frozen"
    eraser = image_eraser(store, paths["images"], CPU, backbone, frozen)
    objective = Objective(model.eval(), losses, eraser)
    batch = data.load(next(pairs.epoch(4, 1, np.random.default_rng(0))), CPU)
    term: torch.Tensor = objective(batch, 9, 10)["mining_sum"]
    return term


@pytest.mark.parametrize("erase", ["feature", "image"])
@pytest.mark.parametrize("order", ["exact", "first"])
def test_a_frozen_scorer_reaches_the_networks_through_the_mask_alone(
    erase: str, order: str, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = networks(paths, backbone=1, language=1)
    parameters = list(features.trained().values())
    options = {"erase": erase, "order": order}
    through = torch.autograd.grad(
        mined(paths, features, scorer="frozen", **options), parameters, allow_unused=True
    )
    # the backbone makes the map; alpha, which "first" holds constant, knows the text
    assert any(gradient is not None and gradient.any() for gradient in through)
    language = through[-1] is not None and bool(through[-1].any())
    assert language == (order == "exact")
    soft_mask = attention_mining.soft_mask
    monkeypatch.setattr(attention_mining, "soft_mask", lambda *rest: soft_mask(*rest).detach())
    assert not mined(paths, features, scorer="frozen", **options).requires_grad
    live = mined(paths, features, scorer="live", **options)
    beside = torch.autograd.grad(live, parameters, allow_unused=True)
    reached = {
        name.split(".")[0]
        for name, gradient in zip(features.trained(), beside, strict=True)
        if gradient is not None and gradient.any()
    }
    assert reached == {"backbone", "language"}


def test_erased_pixels_go_through_the_backbone_that_trains(paths: dict[str, Path]) -> None:
    features = networks(paths, backbone=1)
    assert features.backbone is not None
    with torch.no_grad():
        for value in features.trained().values():
            value.add_(0.05)
    store = store_of(paths, features)
    eraser = image_eraser(store, paths["images"], CPU, features.backbone, frozen=False)
    erased = eraser(np.array([1]), torch.zeros(1, 8, 8))
    assert torch.allclose(erased, store.images([1]), atol=1e-5)
    assert erased.requires_grad
    pixels = load_pixels(tables.image_paths(paths["images"]), [1], features.backbone)
    assert not backbone_pass(features.backbone, pixels, frozen=True).requires_grad


def test_the_config_is_checked_before_any_job() -> None:
    def check(**tuned: Any) -> None:
        variants = {"full": {"train": {"tuned": tuned}}, "rec": {"losses": {"reconstruction": 1.0}}}
        StudyConfig.parse({"variants": variants, "train": {"tuned": tuned}})

    check(backbone=2, rate=0.05)
    with pytest.raises(UserError, match=r"variants\.rec.*train\.tuned\.language moves"):
        check(language=1)
    with pytest.raises(UserError, match=r"train\.tuned\.backbone"):
        check(backbone=-1)


@pytest.mark.workflow
def test_the_workflow_takes_it_as_a_variant_and_touches_nothing_shared(workflow: Workflow) -> None:
    variants = "variants={full: {}, tuned: {train: {tuned: {backbone: 1, language: 1}}}}"

    def reasons(variant: str) -> list[str]:
        """Of the two jobs that read the features, which files they wait for."""
        target = f"results/scenes/{variant}/seed0/predictions.parquet"
        run = workflow.dry(target, "--config", variants, "--quiet", "host")  # else no reasons
        assert run.status == 0, run.text
        titles = (f"Train {variant}, seed 0", f"Predict with {variant}, seed 0")
        return [run.text.split(title)[1].split("Job ")[0] for title in titles]

    pictures = "results/scenes/data/pictures"
    assert all(pictures in reason for reason in reasons("tuned"))
    plain = reasons("full")
    assert all("results/scenes/features/visual.npy" in reason for reason in plain)
    assert not any(pictures in reason for reason in plain)


def test_parameters_of_other_networks_than_the_config_names_are_refused(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    saved, state = train(paths, tmp_path / "out", tuned={"backbone": 1}, epochs=1)
    features = FeaturesConfig.parse(saved["features"])
    assert trained_features(features, 1, 0, state) is not None
    with pytest.raises(UserError, match="tuned backbone or language encoder is not the one"):
        trained_features(features, 2, 0, state)
