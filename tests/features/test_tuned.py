"""`train.tuned`: the last stages of backbone and language encoder train, are kept, and are used."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from camground.bundle import bundle
from camground.grounder.batch_grounding import ground_batch, open_store
from safetensors.torch import load_file

import tiny_models
from camground.data.pairs import Pairs
from camground.features.config import FeaturesConfig, LanguageConfig
from camground.features.tuned import (
    LiveFeatures,
    LiveStore,
    TunedConfig,
    WithFeatures,
    backbone_pass,
    split,
)
from camground.grounder.batches import CamTable, GroundingData, ProposalTable
from camground.grounder.grounder import Grounder, GrounderConfig
from camground.matcher.matcher import Matcher, MatcherConfig
from camground.pipeline import Grounding
from camground.stages import predict, train
from camground.stages.matcher import MatcherStageConfig
from camground.study import tables
from camground.study.config import load_config, merge, validate
from camground.study.errors import UserError
from camground.study.sections import parse
from camground.training import attention_mining
from camground.training import loop as training
from camground.training.loop import load_checkpoint, save_parameters
from camground.training.objective import LossesConfig, Objective

CPU = torch.device("cpu")
SMALL = MatcherConfig(width=16, blocks=1, relations=0)
MODEL = {
    "width": 16,
    "blocks": 1,
    "relation_kernel": 0,
    "cam_encoder": {"channels": 4, "tokens": 2},
    "transformer": {"grid": 2},
    "fusion": {"relations": 0},
}
OFF = {"weight": 0.0}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study up to training: random backbone and BERT, a random matcher, made-up proposals and CAMs."""
    folder = tiny_models.study(tmp_path_factory.mktemp("study"), images=4)
    tiny_models.text_encoder("bert", folder / "bert")
    section = {
        "backbone": {"name": "timm/resnet10t", "image_size": 64, "levels": [2, 3], "grid": None},
        "language": {"name": str(folder / "bert"), "max_tokens": 8},
    }
    store = tiny_models.run_features(folder, section)
    rng = np.random.default_rng(0)
    images = tables.read("images", folder / "images.parquet")["image_id"]
    proposals, cams = [], []
    for image in images:
        low = rng.uniform(0, 30, (3, 2))
        boxes = np.concatenate([low, low + rng.uniform(10, 30, (3, 2))], 1)
        for rank, box in enumerate(boxes):
            row = {"image_id": image, "rank": rank, "box_xyxy": box.tolist()}
            proposals.append({**row, "objectness": 0.5, "source": "made"})
        map_ = rng.integers(0, 256, (8, 8), dtype=np.uint8).tobytes()
        cams.append({"expression_id": image, "height": 8, "width": 8, "map": map_, "source": "x"})
    tables.write("proposals", proposals, folder / "proposals.parquet")
    tables.write("cams", cams, folder / "cams.parquet")
    torch.manual_seed(0)
    matcher = Matcher(SMALL, store.visual_channels, store.text_width)
    resolved = {"matcher": asdict(MatcherStageConfig(model=SMALL))}
    save_parameters(folder / "matcher", matcher, resolved)
    return folder


def trained(study, out, monkeypatch, tuned=None, losses=None, rate=1e-3, epochs=2, resume=None):
    """The stage `train`, and the checkpoint that it leaves."""
    optimiser = {"epochs": epochs, "batch_size": 4, "learning_rate": rate, "warmup_share": 0.0}
    config = {
        "variant": "full",
        "seed": 3,
        "model": MODEL,
        "losses": losses or {},
        "train": {"optimiser": optimiser, **({"tuned": tuned} if tuned else {})},
    }
    given = ["train", "--config", json.dumps(config), "--output-dir", str(out)]
    for name in ("images", "expressions", "proposals", "cams"):
        given += [f"--{name}", str(study / f"{name}.parquet")]
    given += ["--features", str(study / "features"), "--matcher", str(study / "matcher")]
    if resume:
        given += ["--resume-dir", str(resume)]
    monkeypatch.setattr("sys.argv", given)
    train.main()
    return load_checkpoint(out)


def networks(study, **tuned) -> LiveFeatures:
    meta = json.loads((study / "features" / "features.json").read_text())
    return LiveFeatures(FeaturesConfig.parse(meta["config"]), TunedConfig(**tuned))


def test_the_frozen_networks_give_what_the_cache_holds(study):
    cached = LiveStore(study / "features", study / "images.parquet", networks(study))
    live = LiveStore(
        study / "features", study / "images.parquet", networks(study, backbone=1, language=1)
    )
    assert torch.allclose(live.images([2, 0]), cached.images([2, 0]), atol=5e-3)
    texts = tiny_models.TEXTS[:2]
    (mine, there), (theirs, known) = live.texts(texts), cached.texts(texts)
    for row in range(2):
        assert torch.allclose(mine[row][there[row]], theirs[row][known[row]], atol=5e-3)
    assert live.images([0]).requires_grad
    assert live.texts(texts)[0].requires_grad
    assert live.texts([])[0].shape == (0, 1, 16)


def test_the_last_stages_train_and_no_others(study):
    one = networks(study, backbone=1, language=1).trained()
    assert {name.split(".")[2] for name in one if name.startswith("backbone")} == {"layer3"}
    assert {name.rpartition("layer.")[2][0] for name in one if name.startswith("lang")} == {"1"}
    two = networks(study, backbone=2, language=2).trained()
    assert {name.split(".")[2] for name in two if "backbone" in name} == {"layer2", "layer3"}
    assert one.keys() < two.keys()
    every = networks(study, backbone=99, language=99)
    used = [n for n, _ in every.named_parameters() if "pooler" not in n]
    assert set(every.trained()) == set(used)
    assert "backbone.body.conv1.0.weight" in used


@pytest.mark.parametrize("kind", ["resnet", "convnext", "swin", "dinov2"])
def test_stages_of_auto_backbones(kind, tmp_path):
    folder = tiny_models.backbone(kind, tmp_path)
    backbone = {"name": f"auto/{folder}", "image_size": 56, "levels": [2], "output_stride": None}
    config = FeaturesConfig.parse({"backbone": {**backbone, "grid": None}})
    names = list(LiveFeatures(config, TunedConfig(backbone=1)).trained())
    # level 2 comes from the second stage, with number 1; those behind it do not count
    places = {name.split("layers." if kind == "swin" else "stages.")[-1][0] for name in names}
    if kind == "dinov2":
        places = {name.split("layer.")[-1][0] for name in names if ".layer." in name}
    assert places - {"b"} == {"1"}
    assert len(LiveFeatures(config, TunedConfig(backbone=2)).trained()) > len(names)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "clip", "t5"])
def test_layers_of_text_encoders(kind, tmp_path):
    folder = tiny_models.text_encoder(kind, tmp_path)
    config = FeaturesConfig(language=LanguageConfig(name=str(folder), max_tokens=8))
    last = LiveFeatures(config, TunedConfig(language=1)).trained()
    every = LiveFeatures(config, TunedConfig(language=2)).trained()
    assert last
    assert not any(".0." in name.split("block.")[-1][:2] for name in last)
    assert not any("embed" in name for name in last)
    assert any("embed" in name or "shared" in name for name in every)


def test_a_training_moves_the_tuned_parameters_alone_and_keeps_them(study, tmp_path, monkeypatch):
    before = networks(study, backbone=1, language=1).trained()
    before = {name: value.detach().clone() for name, value in before.items()}
    tuned = {"backbone": 1, "language": 1}
    saved, state = trained(study, tmp_path / "out", monkeypatch, tuned)
    assert saved["train"]["tuned"] == {**tuned, "rate": 0.1}
    own, kept = split(state)
    assert kept.keys() == before.keys()
    moved = [float((kept[name] - value).abs().max()) for name, value in before.items()]
    assert min(moved) > 0
    # at a tenth of the rate: AdamW's step is at most about the rate, and there were two
    assert max(moved) < 3 * 1e-4
    plain = Grounder(
        parse(GrounderConfig, MODEL), 64 * 4 + 128, 16
    )  # fails unless own is a grounder's
    assert own.keys() == plain.state_dict().keys()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["parameters"] == sum(v.numel() for v in state.values())
    # the checkpoint gives back the same features
    store = open_store(saved, state, study / "features", study / "images.parquet", CPU)
    frozen = open_store({}, {}, study / "features", study / "images.parquet", CPU)
    assert not store.images([0]).requires_grad
    again = networks(study, backbone=1, language=1)
    WithFeatures(plain, again).load_state_dict({**plain.state_dict(), **state})
    wanted = LiveStore(study / "features", study / "images.parquet", again).images([0])
    assert torch.equal(store.images([0]), wanted)
    assert not torch.allclose(store.images([0]), frozen.images([0]), atol=1e-2)


def test_without_it_nothing_changes(study, tmp_path, monkeypatch):
    _, plain = trained(study, tmp_path / "a", monkeypatch)
    _, zero = trained(study, tmp_path / "b", monkeypatch, {"backbone": 0, "language": 0})
    assert plain.keys() == zero.keys()
    assert not any(name.startswith("features.") for name in plain)
    assert all(torch.equal(plain[name], zero[name]) for name in plain)


def test_a_grounder_begins_alike_with_and_without_it(study, tmp_path, monkeypatch):
    _, plain = trained(study, tmp_path / "a", monkeypatch, rate=1e-12)
    _, tuned = trained(study, tmp_path / "b", monkeypatch, {"backbone": 1}, rate=1e-12)
    assert all(torch.allclose(tuned[name], value, atol=1e-7) for name, value in plain.items())


def test_an_interrupted_training_goes_on_to_the_same_bytes(study, tmp_path, monkeypatch):
    tuned = {"backbone": 1, "language": 1}
    trained(study, tmp_path / "whole", monkeypatch, tuned, epochs=3)

    class Stopped(Exception):
        pass

    real, count = train.mean_scores, iter(range(9))

    def stop(parts):
        if next(count) == 1:
            raise Stopped
        return real(parts)

    resume = tmp_path / "resume"
    with monkeypatch.context() as patch:
        patch.setattr(train, "mean_scores", stop)
        with pytest.raises(Stopped):
            trained(study, tmp_path / "two", monkeypatch, tuned, epochs=3, resume=resume)
    kept = torch.load(resume / "resume.pt", weights_only=False)
    assert kept["epoch"] == 0
    seen = []
    monkeypatch.setattr(training.log, "info", lambda said, *rest: seen.append(said % rest))
    trained(study, tmp_path / "two", monkeypatch, tuned, epochs=3, resume=resume)
    assert any("going on after epoch 1" in said for said in seen)
    whole, two = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "two")
    )
    assert whole.keys() == two.keys()
    assert all(torch.equal(whole[name], two[name]) for name in whole)


def predicted(study, checkpoint, out, monkeypatch):
    given = ["predict", "--config", json.dumps({"predict": {"splits": ["val"]}})]
    for name in ("images", "expressions", "proposals", "cams"):
        given += [f"--{name}", str(study / f"{name}.parquet")]
    given += ["--features", str(study / "features"), "--checkpoint", str(checkpoint)]
    given += ["--output", str(out / "predictions.parquet"), "--swaps", str(out / "swaps.parquet")]
    monkeypatch.setattr("sys.argv", given)
    predict.main()
    return tables.read("predictions", out / "predictions.parquet").set_index("expression_id")


def test_predictions_and_the_bundle_use_the_tuned_networks(study, tmp_path, monkeypatch):
    tuned = {"backbone": 2, "language": 1, "rate": 1.0}
    trained(study, tmp_path / "out", monkeypatch, tuned, {"attention_mining": OFF}, 0.01, 3)
    found = predicted(study, tmp_path / "out", tmp_path, monkeypatch)
    # the same grounder on the frozen features says something else
    saved, state = load_checkpoint(tmp_path / "out")
    own, _ = split(state)
    model = Grounder(parse(GrounderConfig, saved["model"]), 384, 16)
    model.load_state_dict(own)
    saved["train"]["tuned"] = {"backbone": 0, "language": 0}
    save_parameters(tmp_path / "frozen", model, saved)
    other = predicted(study, tmp_path / "frozen", tmp_path, monkeypatch)
    assert (found["image_score"] - other["image_score"]).abs().min() > 1e-3

    settings = {**load_config(), "gradcam": {"method": "gradcam", "layer": "trunk"}}
    made = Grounding.load(bundle(tmp_path / "out", study / "matcher", settings, tmp_path / "model"))
    made._propose = lambda path: (  # the proposals of the table
        np.stack(tables_of(study, Path(path).stem)),
        np.full(3, 0.5),
        np.array([64.0, 64.0]),
    )
    given = {}

    def heard(model, batch):
        # with the CAM that the table has, so that all else must agree
        batch.cam = batch.shown_cam = torch.from_numpy(cam_of(study, "val0"))
        given["looked"] = ground_batch(model, batch)
        return given["looked"]

    monkeypatch.setattr("camground.grounding.ground_batch", heard)
    text = tables.read("expressions", study / "expressions.parquet").set_index("expression_id")
    made.ground(study / "val0.png", [text.loc["val0", "text"]])
    logit = float(given["looked"].first.image_logit.detach())
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(found.loc["val0", "image_score"], abs=1e-4)
    best = float(given["looked"].scores.max())
    assert best == pytest.approx(float(found.loc["val0", "score"]), abs=1e-3)


def tables_of(study, image):
    table = tables.read("proposals", study / "proposals.parquet")
    return table[table["image_id"] == image].sort_values("rank")["box_xyxy"].tolist()


def cam_of(study, expression):
    return CamTable(study / "cams.parquet", [expression], 0.4).take(np.array([0]))[0].numpy()


def mined(study, live, **mining):
    """The mining term of one batch, with everything in its graph."""
    store = LiveStore(study / "features", study / "images.parquet", live)
    proposals = ProposalTable(study / "images.parquet", study / "proposals.parquet")
    pairs = Pairs(study / "images.parquet", study / "expressions.parquet", "train", ["phrase"])
    data = GroundingData(pairs, store, proposals, study / "cams.parquet", 0.4)
    torch.manual_seed(0)
    model = Grounder(parse(GrounderConfig, MODEL), store.visual_channels, store.text_width)
    losses = parse(
        LossesConfig, {"attention_mining": {"weight": 1.0, "size_weight": 0.0, **mining}}
    )
    backbone = live.backbone if mining["erase"] == "image" else None
    frozen = losses.attention_mining.scorer == "frozen"
    eraser = train.pixel_eraser(store, study / "images.parquet", "mean", CPU, backbone, frozen)
    objective = Objective(model.eval(), losses, eraser)
    batch = data.load(next(pairs.epoch(4, 1, np.random.default_rng(0))), CPU)
    return objective(batch, 9, 10)["mining_sum"]


@pytest.mark.parametrize("erase", ["feature", "image"])
@pytest.mark.parametrize("order", ["exact", "first"])
def test_a_frozen_scorer_reaches_the_networks_through_the_mask_alone(
    erase, order, study, monkeypatch
):
    live = networks(study, backbone=1, language=1)
    parameters = list(live.trained().values())
    through = torch.autograd.grad(
        mined(study, live, erase=erase, scorer="frozen", order=order), parameters, allow_unused=True
    )
    # the backbone makes the map; alpha, which "first" holds constant, knows the text
    assert any(g is not None and g.abs().max() > 0 for g in through)
    language = through[-1] is not None and float(through[-1].abs().max()) > 0
    assert language == (order == "exact")
    real = attention_mining.soft_mask
    monkeypatch.setattr(attention_mining, "soft_mask", lambda *given: real(*given).detach())
    without = mined(study, live, erase=erase, scorer="frozen", order=order)
    assert not without.requires_grad
    live_scorer = mined(study, live, erase=erase, scorer="live", order=order)
    beside = torch.autograd.grad(live_scorer, parameters, allow_unused=True)
    reached = {
        name.split(".")[0]
        for name, gradient in zip(live.trained(), beside, strict=True)
        if gradient is not None and gradient.abs().max() > 0
    }
    assert reached == {"backbone", "language"}


def test_erased_pixels_go_through_the_backbone_that_trains(study):
    live = networks(study, backbone=1)
    with torch.no_grad():
        for value in live.trained().values():
            value.add_(0.05)
    store = LiveStore(study / "features", study / "images.parquet", live)
    eraser = train.pixel_eraser(store, study / "images.parquet", "mean", CPU, live.backbone, False)
    nothing = torch.zeros(1, 8, 8)
    found = eraser(np.array([1]), nothing)
    assert torch.allclose(found, store.images([1]), atol=1e-5)
    assert found.requires_grad
    assert not backbone_pass(live.backbone, store.pixels([1]), frozen=True).requires_grad


def test_the_config_is_checked_before_any_job():
    def checked(**train):
        variants = {"full": {"train": {"tuned": train}}, "rec": {"losses": {"reconstruction": 1.0}}}
        reconstructing = {"variants": variants, "model": {"reconstruction": True}}
        validate(merge(load_config(), {**reconstructing, "train": {"tuned": train}}))

    checked(backbone=2, rate=0.05)
    with pytest.raises(UserError, match=r"variant rec: .*train\.tuned\.language moves"):
        checked(language=1)
    with pytest.raises(UserError, match=r"train\.tuned\.backbone"):
        checked(backbone=-1)


@pytest.mark.workflow
def test_the_workflow_takes_it_as_a_variant_and_touches_nothing_shared(workflow):
    variants = "variants={full: {}, tuned: {train: {tuned: {backbone: 1, language: 1}}}}"

    def reasons(variant):
        """Of the two jobs that read the features, which files they wait for."""
        asked = f"results/scenes/{variant}/seed0/predictions.parquet"
        run = workflow.dry(asked, "--config", variants, "--quiet", "host")  # else no reasons
        assert run.status == 0, run.text
        titles = (f"Train {variant}, seed 0", f"Predict with {variant}, seed 0")
        return [run.text.split(title)[1].split("Job ")[0] for title in titles]

    pictures = "results/scenes/data/pictures"
    assert all(pictures in reason for reason in reasons("tuned"))
    plain = reasons("full")
    assert all("results/scenes/features/visual.npy" in reason for reason in plain)
    assert not any(pictures in reason for reason in plain)


def test_what_does_not_go_together_is_refused(study, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"train\.tuned\.language: losses\.reconstruction"):
        trained(study, tmp_path / "a", monkeypatch, {"language": 1}, {"reconstruction": 1.0})
    saved, state = trained(study, tmp_path / "b", monkeypatch, {"backbone": 1}, epochs=1)
    saved["train"]["tuned"]["backbone"] = 2
    with pytest.raises(UserError, match="tuned backbone or language encoder is not the one"):
        open_store(saved, state, study / "features", study / "images.parquet", CPU)
