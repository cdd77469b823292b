"""Training the grounder: the stage from end to end, every variant of the study, and erased pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from camground.data.pairs import Pairs
from camground.features.store import FeatureStore
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.grounder import Grounder
from camground.grounder.loading import load_grounder
from camground.grounder.map_boxes import boxes_around
from camground.grounder.regions import Proposals
from camground.matcher.matcher import load_matcher
from camground.stages.config import StudyConfig
from camground.study import tables
from camground.study.checkpoints import load_checkpoint
from camground.study.errors import UserError
from camground.training import loop, objective
from camground.training.config import DistillationConfig
from camground.training.grounder import image_eraser
from camground.training.loop import VAL_PER_IMAGE, Validation
from camground.training.objective import Objective
from conftest import REPOSITORY
from tiny_grounder import tiny_batch, tiny_matcher
from tiny_study import make_photograph_study, make_study, run_train

CPU = torch.device("cpu")
STUDY = StudyConfig.load(REPOSITORY / "configs" / "study.yaml")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("name", STUDY.variant_names)
def test_every_variant_of_the_study_trains_and_grounds(name: str) -> None:
    variant = STUDY.variant(name)
    torch.manual_seed(0)
    model = Grounder(tiny_matcher(), variant.grounder).double().train()
    losses = Objective(model, variant.losses).double()
    batch = tiny_batch(swapped=(0, 1, 2), false=(True, True, False))
    values = losses(batch, 1, 1.0)
    values["loss"].backward()
    assert torch.isfinite(values["loss"])
    stem = model.matcher.trunk.stem.weight
    assert stem.grad is not None
    assert stem.grad.any()
    if name in ("region_contrastive", "reconstruction"):
        assert values["loss"] == values[name.removeprefix("region_")]
    arguments = (batch.features, batch.proposals, batch.tokens, batch.mask, batch.owner)
    with torch.no_grad():
        scores = model.eval()(*arguments, batch.matcher_cam, batch.has_cam).scores
    assert torch.isfinite(scores).all()
    assert (scores.std(-1) > 0).all()


def test_the_stage_starts_from_the_matcher_and_trains_it_along(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    matcher = load_matcher(paths["matcher"])
    still = load_grounder(run_train(paths, tmp_path / "still", learning_rate=1e-12)).model
    for name, value in matcher.state_dict().items():
        assert torch.allclose(still.matcher.state_dict()[name], value, atol=1e-8)
    trained = load_grounder(run_train(paths, tmp_path / "trained")).model
    assert not torch.equal(trained.matcher.trunk.stem.weight, matcher.trunk.stem.weight)
    history = tables.read("history", tmp_path / "trained" / "history.parquet")
    assert {"train/loss", "train/erased_score", "val/score", "val/matching"} <= set(history["name"])
    assert "val/erased_score" not in set(history["name"])
    summary = json.loads((tmp_path / "trained" / "summary.json").read_text())
    assert summary["train_images"] == 3
    assert summary["train_expressions"] == 9
    fixed = trained.matcher.scale.numel()
    assert summary["parameters"] == sum(value.numel() for value in trained.parameters()) - fixed


def test_the_seed_alone_decides_what_is_random(paths: dict[str, Path], tmp_path: Path) -> None:
    one, same, other = (
        load_checkpoint(run_train(paths, tmp_path / name, seed=seed, epochs=1))[1]
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["region.weight"], other["region.weight"])
    first, second = (
        load_checkpoint(
            run_train(paths, tmp_path / f"still{seed}", seed=seed, epochs=1, learning_rate=1e-12)
        )[1]
        for seed in (0, 1)
    )
    assert not torch.allclose(first["region.weight"], second["region.weight"]), "the first parameters"


def test_targets_beside_the_tables_change_no_byte(tmp_path: Path) -> None:
    """Where `targets` are whole, of other expressions, torn or gone, training writes the same."""
    paths = make_study(tmp_path / "study")

    def written(name: str) -> list[bytes]:
        folder = run_train(paths, tmp_path / name, epochs=1)
        return [(folder / file).read_bytes() for file in ("checkpoint.safetensors", "val_boxes.parquet")]

    whole = written("whole")
    targets = tables.read("targets", paths["targets"])
    targets["boxes_xyxy"] = targets["boxes_xyxy"].to_list()[::-1]
    tables.write("targets", targets, paths["targets"])
    assert written("shuffled") == whole
    paths["targets"].write_bytes(paths["targets"].read_bytes()[:100])
    assert written("torn") == whole
    paths["targets"].unlink()
    assert written("gone") == whole


def test_an_interrupted_training_goes_on_to_the_very_parameters(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, withheld CAMs, sampled negatives and mining."""

    class Interrupted(Exception):
        pass

    losses = {"attention_mining": {"warmup": 4.0, "every": 1}}  # so the step counts
    whole = run_train(paths, tmp_path / "whole", losses=losses, epochs=3, batch_size=2)
    joined, count = loop.joined, iter(range(9))

    def stop(parts: list[Validation]) -> Validation:
        if next(count) == 2:
            raise Interrupted
        return joined(parts)

    options = {"losses": losses, "epochs": 3, "batch_size": 2, "resume": tmp_path / "resume"}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "joined", stop)
        with pytest.raises(Interrupted):
            run_train(paths, tmp_path / "two", **options)
    assert torch.load(tmp_path / "resume" / "resume.pt", weights_only=True)["done"] == 2
    two = run_train(paths, tmp_path / "two", **options)
    assert not list((tmp_path / "resume").iterdir())
    expected, resumed = (load_checkpoint(folder)[1] for folder in (whole, two))
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    for name in ("history.parquet", "val_boxes.parquet"):
        assert (whole / name).read_bytes() == (two / name).read_bytes()


def test_the_boxes_that_each_epoch_chooses_on_val_are_recorded(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """Those of the highest score; null for an image without proposals."""
    proposals = tables.read("proposals", paths["proposals"])
    few = {**paths, "proposals": tmp_path / "proposals.parquet"}
    tables.write("proposals", proposals[proposals["image_id"] != "i4"], few["proposals"])
    folder = run_train(few, tmp_path / "out", epochs=3, batch_size=2, learning_rate=0.01)
    rows = tables.read("val_boxes", folder / "val_boxes.parquet")
    # three images of three phrases; one image alone at the end of an epoch is no batch
    assert rows.groupby("epoch").size().tolist() == [2 * VAL_PER_IMAGE] * 3
    assert rows["step"].tolist() == rows["epoch"].tolist()
    expressions = tables.read("expressions", paths["expressions"]).set_index("expression_id")
    of_row = expressions.loc[rows["expression_id"]]
    assert set(of_row["split"]) == {"val"}
    assert (rows["box_xyxy"].isna().to_numpy() == (of_row["image_id"] == "i4").to_numpy()).all()
    # those of the chosen epoch are what its checkpoint says
    best = json.loads((folder / "summary.json").read_text())["best_epoch"]
    model, pairs = load_grounder(folder).model, Pairs(few["images"], few["expressions"], "val", ["phrase"])
    table, store = ProposalTable(few["images"], few["proposals"]), FeatureStore(few["features"])
    data = GroundingData(pairs, store, table, few["cams"])
    (indices,) = pairs.in_order(64)
    with torch.no_grad():
        output = model(*data.load(indices, CPU).inputs)
    sizes = torch.from_numpy(table.sizes[pairs.image_rows[indices.expressions]]).tile(2)
    chosen = output.candidates.boxes[range(9), output.scores.argmax(-1)] * sizes
    named = dict(zip((pairs.expression_ids[row] for row in indices.expressions), chosen, strict=True))
    recorded = rows[(rows["epoch"] == best) & rows["box_xyxy"].notna()]
    assert len(recorded) >= VAL_PER_IMAGE
    for row in recorded.itertuples():
        np.testing.assert_allclose(row.box_xyxy, named[row.expression_id].numpy(), atol=1e-3)


@pytest.mark.parametrize(("at_least", "share", "images"), [(2, 0.0, 2), (100, 0.0, 3), (1, 0.7, 2)])
def test_so_many_images_of_val_choose_the_epoch(
    at_least: int,
    share: float,
    images: int,
    paths: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of train and three of val with expressions: 0.7 of the former are two."""
    monkeypatch.setattr(loop, "VAL_IMAGES", at_least)
    monkeypatch.setattr(loop, "VAL_SHARE", share)
    folder = run_train(paths, tmp_path / "out", epochs=2, batch_size=3)
    rows = tables.read("val_boxes", folder / "val_boxes.parquet")
    first, second = (of["expression_id"].tolist() for _, of in rows.groupby("epoch"))
    assert first == second
    assert len(first) == images * VAL_PER_IMAGE


def test_a_training_that_ends_by_patience_does_not_depend_on_its_limit(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """With mining, whose weight rises in epochs."""
    options = {"losses": {"attention_mining": {"warmup": 3.0, "every": 1}}, "learning_rate": 0.3}
    low, high = (
        run_train(paths, tmp_path / str(limit), epochs=limit, patience=2, **options) for limit in (10, 20)
    )
    for name in ("checkpoint.safetensors", "history.parquet", "val_boxes.parquet"):
        assert (low / name).read_bytes() == (high / name).read_bytes()
    summary = json.loads((high / "summary.json").read_text())
    assert summary["epochs"] == summary["best_epoch"] + 2 < 10
    assert summary["limit_reached"] is False


def test_a_training_in_bfloat16_has_finite_losses(paths: dict[str, Path], tmp_path: Path) -> None:
    losses = {"reconstruction": 1.0, "attention_mining": {"every": 1, "keep_weight": 1.0}}
    run_train(paths, tmp_path / "out", losses=losses, precision="bfloat16", epochs=3)
    history = tables.read("history", tmp_path / "out" / "history.parquet")
    assert {"train/keep", "train/reconstruction", "train/erased_score"} <= set(history["name"])
    assert np.isfinite(history["value"]).all()


def test_the_teacher_has_boxes_at_the_thresholds_of_the_config(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    teacher = objective.teacher

    def spy(
        config: DistillationConfig, cam: Tensor, cam_boxes: Tensor, candidates: Proposals, *labels: Tensor
    ) -> Tensor:
        seen.append((cam, cam_boxes, candidates))
        return teacher(config, cam, cam_boxes, candidates, *labels)

    monkeypatch.setattr(objective, "teacher", spy)
    run_train(paths, tmp_path / "out", losses={"distillation": {"thresholds": [0.7, 0.25]}}, epochs=1)
    count = ProposalTable(paths["images"], paths["proposals"]).boxes.shape[1]
    assert seen
    for cam, cam_boxes, candidates in seen:
        assert torch.equal(cam_boxes, boxes_around(cam, [0.7, 0.25]))
        assert not torch.equal(cam_boxes[:, 0], cam_boxes[:, 1])
        # boxes around the model's own map are for prediction alone
        assert candidates.boxes.shape[1] == count


def test_a_split_of_one_image_is_refused(paths: dict[str, Path], tmp_path: Path) -> None:
    expressions = tables.read("expressions", paths["expressions"])
    few = expressions[(expressions["split"] != "val") | (expressions["image_id"] == "i0")]
    tables.write("expressions", few, tmp_path / "expressions.parquet")
    with pytest.raises(UserError, match=r"split 'val' has 1 images .*'phrase'.*; training needs"):
        run_train({**paths, "expressions": tmp_path / "expressions.parquet"}, tmp_path / "out")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_photograph_study(tmp_path_factory.mktemp("photographs"))


def test_nothing_erased_gives_the_cached_features(photographs: dict[str, Path]) -> None:
    store = FeatureStore(photographs["features"])
    erased = image_eraser(store, photographs["images"], CPU)
    with torch.no_grad():
        features = erased(np.array([1, 0]), torch.zeros(2, 4, 4))
    # the cache is in the study's precision, bfloat16
    assert torch.allclose(features, store.images([1, 0]), rtol=0.03, atol=0.03)


def test_erasing_changes_the_features_and_the_mask_has_a_gradient(photographs: dict[str, Path]) -> None:
    store = FeatureStore(photographs["features"])
    erased = image_eraser(store, photographs["images"], CPU)
    mask = torch.zeros(1, 4, 4, requires_grad=True)
    half = torch.zeros(1, 4, 4)
    half[:, :, :2] = 1
    changed = erased(np.array([0]), mask + half)
    assert not torch.allclose(changed, store.images([0]), atol=0.1)
    changed.square().sum().backward()
    assert mask.grad is not None
    assert mask.grad.any()


def test_pixels_of_each_texts_own_photograph_are_erased(photographs: dict[str, Path]) -> None:
    """The rows of the images table, not of the batch."""
    rows = []

    def spy(image_rows: np.ndarray, mask: torch.Tensor) -> torch.Tensor:
        rows.append(image_rows.tolist())
        return torch.zeros(len(mask), *batch.features.shape[1:]).double() + mask.mean()

    batch = replace(tiny_batch(owner=(0, 1, 1)), image_rows=np.array([7, 5]))
    losses = STUDY.losses.to_dict()
    losses["attention_mining"] |= {"erase": "image", "every": 1}
    grounder = Grounder(tiny_matcher(), STUDY.grounder).double()
    Objective(grounder, type(STUDY.losses).parse(losses), spy)(batch, 1, 1.0)
    assert rows == [[7, 5, 5]]


def test_a_training_may_erase_pixels(photographs: dict[str, Path], tmp_path: Path) -> None:
    losses = {"attention_mining": {"erase": "image", "every": 1, "warmup": 0.0}}
    run_train(photographs, tmp_path / "out", losses=losses, epochs=2)
    history = tables.read("history", tmp_path / "out" / "history.parquet")
    assert "train/erased_score" in set(history["name"])
