"""Baselines: what each chooses, that random is reproducible, that the oracle bounds them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import evaluation_study as study
from camground.evaluation import baselines, metrics
from camground.evaluation.baselines import BASELINES, Choice, Context, prediction_rows
from camground.evaluation.ground_truth import GroundTruth
from camground.grounder.config import PredictConfig, VotingConfig
from camground.study import tables
from camground.study.errors import UserError
from camground.training.config import DistillationConfig

SEEDS = [0, 1]


# Those that answer with a box.
BOXED = {name for name, baseline in BASELINES.items() if baseline.choose}
# They have nothing to rank.
VOTELESS = {"random", "centre", "whole_image", "oracle"}
DEFAULT = VotingConfig()
PREDICT = PredictConfig()


def choose(
    name: str,
    truth: GroundTruth,
    seed: int = 0,
    box_threshold: float = 0.4,
    voting: VotingConfig = DEFAULT,
    map_boxes: tuple[float, ...] = PREDICT.map_boxes,
) -> Choice:
    predict = PredictConfig(map_boxes=map_boxes, voting=voting)
    context = Context(truth, seed, predict, box_threshold, DistillationConfig())
    answer = BASELINES[name].choose
    assert answer
    return answer(context)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return study.make(tmp_path_factory.mktemp("study"), images=24)


@pytest.fixture(scope="module")
def truth(paths: dict[str, Path]) -> GroundTruth:
    return study.ground_truth(paths)


@pytest.fixture(scope="module")
def root(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    study.run_baselines(paths, root, SEEDS)
    return root


def accuracy(root: Path, name: str, seed: int = 0) -> float:
    rows = tables.read("metrics", root / name / f"seed{seed}" / "metrics.parquet")
    rows = rows[(rows["metric"] == "iou") & (rows["group"] == "all") & (rows["split"] == "test")]
    return float(rows["value"].iloc[0])


def test_every_baseline_writes_its_runs(root: Path) -> None:
    found = {str(path.relative_to(root).parent) for path in root.rglob("metrics.parquet")}
    assert found == {f"{name}/seed{seed}" for name in BASELINES for seed in BASELINES[name].seeds(SEEDS)}
    assert {"random/seed1", "gradcam_ranking/seed1", "gradcam_box/seed1"} <= found
    assert "centre/seed1" not in found
    for folder in found:
        tables.read("predictions", root / folder / "predictions.parquet")
        tables.read("outcomes", root / folder / "outcomes.parquet")


def test_what_rests_on_a_map_is_measured_with_each_seed_s_own(paths: dict[str, Path], tmp_path: Path) -> None:
    """Maps of seed 1 that lie elsewhere move its boxes and its map's metrics, and nothing of seed 0."""
    study.run_baselines(paths, tmp_path / "same")
    cams = tables.read("cams", paths["cams"])
    cams["map"] = [bytes(reversed(each)) for each in cams["map"]]
    turned = {**paths, "cams": tmp_path / "cams.parquet"}
    tables.write("cams", cams, turned["cams"])
    study.run_baselines(turned, tmp_path / "turned")
    root = tmp_path / "mixed"
    study.run_baselines(paths, root)
    shutil.copytree(tmp_path / "turned" / "gradcam" / "seed1", root / "gradcam" / "seed1", dirs_exist_ok=True)
    inputs = {name: path for name, path in paths.items() if name != "cams"}
    sections = {"evaluate": study.EVALUATE, **{name: {} for name in ("gradcam", "predict", "losses")}}
    task = {"dataset": "toy", "seeds": SEEDS, **sections}
    study.run("baselines", task, **inputs, gradcam=root / "gradcam", output_root=root)
    for name in (name for name, baseline in BASELINES.items() if baseline.own_map):
        # a seed's training is taught by the next seed's maps, the last's by the first's
        of_seeds = ("turned", "same") if name == "teacher" else ("same", "turned")
        for seed, like in enumerate(of_seeds):
            file = Path(name) / f"seed{seed}" / "outcomes.parquet"
            found, expected = (tables.read("outcomes", folder / file) for folder in (root, tmp_path / like))
            assert found.equals(expected), (name, seed)
            assert "matcher_cam_iou" in set(found["name"])
        assert accuracy(root, name, 0) != accuracy(root, name, 1)


def test_the_oracle_bounds_every_choice_of_a_proposal(root: Path) -> None:
    for name in ("random", "largest", "objectness", "gradcam_ranking"):
        assert accuracy(root, name) <= accuracy(root, "oracle")
        rows = tables.read("outcomes", root / name / "seed0" / "outcomes.parquet")
        best = tables.read("outcomes", root / "oracle" / "seed0" / "outcomes.parquet")
        mine, bound = (t[t["name"] == "iou_unvoted"]["value"].to_numpy() for t in (rows, best))
        assert (mine <= bound).all()
    # The invented maps lie on the targets.
    assert accuracy(root, "gradcam_box") > 0.5
    assert accuracy(root, "gradcam_ranking") > accuracy(root, "random") + 0.2


def test_the_oracle_reaches_recall(root: Path) -> None:
    rows = tables.read("outcomes", root / "oracle" / "seed0" / "outcomes.parquet")
    by_name = {name: part["value"].to_numpy() for name, part in rows.groupby("name")}
    np.testing.assert_array_equal(by_name["acc@0.5"], by_name["recall@0.5"])


def test_random_is_reproducible_by_seed(truth: GroundTruth, paths: dict[str, Path]) -> None:
    first = choose("random", truth)
    again = choose("random", study.ground_truth(paths))
    np.testing.assert_array_equal(first.rank, again.rank)
    assert (first.rank != choose("random", truth, seed=1).rank).any()


def test_fixed_boxes(truth: GroundTruth) -> None:
    whole = choose("whole_image", truth)
    assert (whole.boxes_xyxy == [0, 0, study.WIDTH, study.HEIGHT]).all()
    centre = choose("centre", truth)
    expected = np.array([0.15, 0.15, 0.85, 0.85]) * np.array([study.WIDTH, study.HEIGHT] * 2)
    np.testing.assert_allclose(centre.boxes_xyxy, np.tile(expected, (len(truth), 1)))
    assert (centre.rank == -1).all()


def test_largest_and_objectness_leave_out_the_whole_image(
    truth: GroundTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rank 0 is the whole image of every invented image.
    assert (choose("objectness", truth).rank == 1).all()
    found = choose("largest", truth)
    for i in range(len(truth)):
        boxes = truth.proposals.take(np.array([i])).boxes_xyxy
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        assert found.rank[i] == np.argmax(areas[1:]) + 1
    monkeypatch.setattr(baselines, "WHOLE_IMAGE_SHARE", 2.0)
    assert (choose("objectness", truth).rank == 0).all()
    assert (choose("largest", truth).rank == 0).all()


def test_gradcam_ranking_equals_a_loop(truth: GroundTruth, monkeypatch: pytest.MonkeyPatch) -> None:
    found = choose("gradcam_ranking", truth)
    maps = truth.matcher_maps.stack(np.arange(len(truth)))
    # So fine a grid that every integer box falls on whole cells: 192 x 192.
    pixels = maps.repeat(study.HEIGHT // 4, axis=1).repeat(study.WIDTH // 6, axis=2)
    step_y, step_x = pixels.shape[1] // study.HEIGHT, pixels.shape[2] // study.WIDTH
    for i in range(len(truth)):
        scores = []
        for x1, y1, x2, y2 in truth.proposals.take(np.array([i])).boxes_xyxy.astype(int):
            inside = pixels[i, y1 * step_y : y2 * step_y, x1 * step_x : x2 * step_x].sum()
            scores.append(inside / ((x2 - x1) * (y2 - y1)) ** 0.5)
        assert scores[found.rank[i]] == pytest.approx(max(scores), rel=1e-6)
    # without the division the whole image always wins
    monkeypatch.setattr(baselines.map_geometry, "AREA_EXPONENT", 0)
    assert (choose("gradcam_ranking", truth).rank == 0).all()


def test_gradcam_box_is_around_the_map(truth: GroundTruth) -> None:
    iou = metrics.best_iou(choose("gradcam_box", truth).boxes_xyxy, truth.targets)
    assert np.median(iou) > 0.5
    assert (choose("gradcam_box", truth).rank == -1).all()
    low = choose("gradcam_box", truth, box_threshold=0.05)
    assert (low.boxes_xyxy == [0, 0, study.WIDTH, study.HEIGHT]).all()


@pytest.mark.parametrize("name", sorted(BOXED - VOTELESS))
def test_every_ranking_votes_as_the_study_says(truth: GroundTruth, name: str) -> None:
    """Learned rows alone used to vote."""
    alone = choose(name, truth, voting=VotingConfig(iou=1), map_boxes=())
    voted = choose(name, truth, voting=VotingConfig(iou=0.1, decay=1, map_weight=1), map_boxes=())
    np.testing.assert_array_equal(voted.boxes_xyxy, alone.boxes_xyxy)
    np.testing.assert_allclose(alone.voted_xyxy, alone.boxes_xyxy, atol=1e-4)
    for i in range(len(truth)):
        boxes, chosen = truth.proposals.take(np.array([i])).boxes_xyxy, voted.boxes_xyxy[[i]]
        near = boxes[metrics.aligned_iou(chosen.repeat(len(boxes), 0), boxes) >= 0.1]
        voters = np.concatenate([near, chosen]) if name == "gradcam_box" else near
        np.testing.assert_allclose(voted.voted_xyxy[i], voters.mean(axis=0), atol=1e-3)


def test_the_teacher_chooses_among_what_a_grounder_does(truth: GroundTruth) -> None:
    """It used to choose among proposals alone, which flattered the grounder beside it."""
    voting = VotingConfig(iou=0.1, decay=1, map_weight=1)
    alone = choose("teacher", truth, map_boxes=())
    found = choose("teacher", truth, voting=voting, map_boxes=(0.5,))
    around = choose("gradcam_box", truth, box_threshold=0.5).boxes_xyxy
    assert (alone.rank >= 0).all()
    assert (found.rank == -1).all()  # the invented maps are sharp, so their own boxes fit them best
    # the same threshold on grids of other sizes: a cell's difference
    assert np.median(metrics.aligned_iou(found.boxes_xyxy, around)) > 0.9
    for i in range(len(truth)):
        boxes, chosen = truth.proposals.take(np.array([i])).boxes_xyxy, found.boxes_xyxy[[i]]
        near = boxes[metrics.aligned_iou(chosen.repeat(len(boxes), 0), boxes) >= 0.1]
        voters = np.concatenate([near, chosen])
        np.testing.assert_allclose(found.voted_xyxy[i], voters.mean(axis=0), atol=1e-3)


def test_both_boxes_are_in_the_predictions(root: Path, truth: GroundTruth) -> None:
    for name in BOXED:
        rows = tables.read("predictions", root / name / "seed0" / "predictions.parquet")
        voted, chosen = (np.stack(rows[column]) for column in ("box_xyxy", "chosen_box_xyxy"))
        assert (name in VOTELESS) == bool((voted == chosen).all())
        np.testing.assert_allclose(chosen, choose(name, truth).boxes_xyxy, atol=1e-3)


def test_own_map_is_the_matchers(root: Path, truth: GroundTruth) -> None:
    rows = tables.read("predictions", root / "gradcam_ranking" / "seed0" / "predictions.parquet")
    assert rows["cam"].tolist() == truth.matcher_maps.data
    assert tables.read("predictions", root / "oracle/seed0/predictions.parquet")["cam"].isna().all()


def test_no_proposals_or_no_map_or_one_of_zeros_is_no_answer(paths: dict[str, Path], tmp_path: Path) -> None:
    changed = {**paths, "proposals": tmp_path / "p.parquet", "cams": tmp_path / "c.parquet"}
    proposals, cams = (tables.read(name, paths[name]) for name in ("proposals", "cams"))
    tables.write("proposals", proposals[proposals["image_id"] != "i1"], changed["proposals"])
    cams.loc[cams["expression_id"] == "e2.1", "map"] = bytes(len(cams["map"].iloc[0]))
    tables.write("cams", cams[cams["expression_id"] != "e2.0"], changed["cams"])
    truth = study.ground_truth(changed)
    for name in BOXED:
        answered = prediction_rows(choose(name, truth), truth, own_map=False)
        lost = set(truth.ids) - set(answered["expression_id"])
        expected: set[str] = set()
        if name not in ("centre", "whole_image", "gradcam_box"):
            expected |= {"e1.0", "e1.1", "e1.2"}
        if name in ("gradcam_ranking", "gradcam_box", "teacher"):
            expected |= {"e2.0", "e2.1"}
        assert lost == expected, name
    tables.write("proposals", proposals.iloc[:0], changed["proposals"])
    nothing = study.ground_truth(changed)
    assert not choose("objectness", nothing).present.any()
    assert not choose("oracle", nothing).present.any()


def test_a_teacher_that_reads_labels_needs_the_features_of_the_texts(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    inputs = {name: path for name, path in paths.items() if name != "cams"}
    sections = {name: {} for name in ("evaluate", "gradcam", "predict")}
    task = {"dataset": "toy", "seeds": [0], **sections, "losses": {"distillation": {"label": 1.0}}}
    with pytest.raises(UserError, match=r"losses\.distillation\.label: .* needs --features"):
        study.run("baselines", task, **inputs, gradcam=tmp_path, output_root=tmp_path)
