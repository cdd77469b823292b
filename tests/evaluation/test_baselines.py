"""Baselines: what each chooses, that random is reproducible, that the oracle bounds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import evaluation_study as made
from camground.evaluation import ground_truth, metrics
from camground.evaluation.protocol import Protocol, settings
from camground.stages.baselines import BASELINES, Settings, choose, prediction_rows, runs
from camground.stages.evaluate import Evaluation
from camground.study import tables

SEEDS = [0, 1]


def config(**changes: object) -> Settings:
    return settings(Settings, {**made.BASELINES, **changes}, "baselines")


def load(paths: dict[str, Path]) -> Evaluation:
    protocol = settings(Protocol, made.EVALUATE, "evaluate")
    return Evaluation(ground_truth.load(protocol, **paths))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made.make(tmp_path_factory.mktemp("study"), images=24)


@pytest.fixture(scope="module")
def evaluation(paths: dict[str, Path]) -> Evaluation:
    return load(paths)


@pytest.fixture(scope="module")
def root(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    task = {
        "dataset": "toy",
        "seeds": SEEDS,
        "evaluate": made.EVALUATE,
        "baselines": made.BASELINES,
    }
    done = made.run("baselines", task, **paths, output_root=root)
    assert done.returncode == 0, done.stderr
    return root


def accuracy(root: Path, name: str, seed: int = 0) -> float:
    rows = tables.read("metrics", root / name / f"seed{seed}" / "metrics.parquet")
    rows = rows[(rows["metric"] == "iou") & (rows["group"] == "all") & (rows["split"] == "test")]
    return float(rows["value"].iloc[0])


def test_every_baseline_writes_its_runs(root: Path) -> None:
    found = {str(path.relative_to(root).parent) for path in root.rglob("metrics.parquet")}
    assert found == {f"{name}/seed{seed}" for name in BASELINES for seed in runs(name, SEEDS)}
    assert "random/seed1" in found
    assert "centre/seed1" not in found
    for folder in found:
        tables.read("predictions", root / folder / "predictions.parquet")
        tables.read("outcomes", root / folder / "outcomes.parquet")


def test_the_oracle_bounds_every_choice_of_a_proposal(root: Path) -> None:
    for name in ("random", "largest", "objectness", "gradcam_ranking"):
        assert accuracy(root, name) <= accuracy(root, "oracle")
        rows = tables.read("outcomes", root / name / "seed0" / "outcomes.parquet")
        best = tables.read("outcomes", root / "oracle" / "seed0" / "outcomes.parquet")
        mine, bound = (t[t["name"] == "iou"]["value"].to_numpy() for t in (rows, best))
        assert (mine <= bound).all()
    # The made-up maps lie on the targets.
    assert accuracy(root, "gradcam_box") > 0.5
    assert accuracy(root, "gradcam_ranking") > accuracy(root, "random") + 0.2


def test_the_oracle_reaches_recall(root: Path) -> None:
    rows = tables.read("outcomes", root / "oracle" / "seed0" / "outcomes.parquet")
    by_name = {name: part["value"].to_numpy() for name, part in rows.groupby("name")}
    np.testing.assert_array_equal(by_name["acc@0.5"], by_name["recall@0.5"])


def test_random_is_reproducible_by_seed(evaluation: Evaluation, paths: dict[str, Path]) -> None:
    first = choose("random", evaluation, config(), 0)
    np.testing.assert_array_equal(first.rank, choose("random", load(paths), config(), 0).rank)
    assert (first.rank != choose("random", evaluation, config(), 1).rank).any()
    assert (first.rank != choose("random", evaluation, config(rng_seed=1), 0).rank).any()


def test_fixed_boxes(evaluation: Evaluation) -> None:
    whole = choose("whole_image", evaluation, config(), 0)
    assert (whole.boxes_xyxy == [0, 0, made.WIDTH, made.HEIGHT]).all()
    centre = choose("centre", evaluation, config(centre={"side": 0.5}), 0)
    expected = np.array([1, 1, 3, 3]) / 4 * np.array([made.WIDTH, made.HEIGHT] * 2)
    np.testing.assert_allclose(centre.boxes_xyxy, np.tile(expected, (len(evaluation.truth), 1)))
    assert (centre.rank == -1).all()


def test_largest_and_objectness_leave_out_the_whole_image(evaluation: Evaluation) -> None:
    truth = evaluation.truth
    # Rank 0 is the whole image of every made-up image.
    assert (choose("objectness", evaluation, config(), 0).rank == 1).all()
    found = choose("largest", evaluation, config(), 0)
    for i in range(len(truth)):
        boxes = truth.choices.take(np.array([i])).boxes_xyxy
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        assert found.rank[i] == np.argmax(areas[1:]) + 1
    every = config(whole_image_share=2.0)
    assert (choose("objectness", evaluation, every, 0).rank == 0).all()
    assert (choose("largest", evaluation, every, 0).rank == 0).all()


def test_gradcam_ranking_equals_a_loop(evaluation: Evaluation) -> None:
    truth = evaluation.truth
    found = choose("gradcam_ranking", evaluation, config(), 0)
    maps = truth.matcher_maps.stack(np.arange(len(truth)))
    # So fine a grid that every integer box falls on whole cells: 192 x 192.
    pixels = maps.repeat(made.HEIGHT // 4, axis=1).repeat(made.WIDTH // 6, axis=2)
    step_y, step_x = pixels.shape[1] // made.HEIGHT, pixels.shape[2] // made.WIDTH
    for i in range(len(truth)):
        scores = []
        for x1, y1, x2, y2 in truth.choices.take(np.array([i])).boxes_xyxy.astype(int):
            inside = pixels[i, y1 * step_y : y2 * step_y, x1 * step_x : x2 * step_x].sum()
            scores.append(inside / ((x2 - x1) * (y2 - y1)) ** 0.5)
        assert scores[found.rank[i]] == pytest.approx(max(scores), rel=1e-6)
    whole = choose("gradcam_ranking", evaluation, config(gradcam_ranking={"area_exponent": 0}), 0)
    assert (whole.rank == 0).all()  # without the division the whole image always wins


def test_gradcam_box_is_around_the_map(evaluation: Evaluation) -> None:
    found = choose("gradcam_box", evaluation, config(), 0)
    iou = metrics.best_iou(found.boxes_xyxy, evaluation.truth.targets)
    assert np.median(iou) > 0.5
    low = choose(
        "gradcam_box", evaluation, config(gradcam_box={"threshold": 0.05, "component": "all"}), 0
    )
    assert (low.boxes_xyxy == [0, 0, made.WIDTH, made.HEIGHT]).all()


def test_own_map_is_the_matchers(root: Path, evaluation: Evaluation) -> None:
    rows = tables.read("predictions", root / "gradcam_ranking" / "seed0" / "predictions.parquet")
    assert rows["cam"].tolist() == evaluation.truth.matcher_maps.data
    assert tables.read("predictions", root / "oracle/seed0/predictions.parquet")["cam"].isna().all()


def test_no_proposals_or_no_map_is_no_answer(paths: dict[str, Path], tmp_path: Path) -> None:
    changed = {**paths, "proposals": tmp_path / "p.parquet", "cams": tmp_path / "c.parquet"}
    proposals, cams = (tables.read(name, paths[name]) for name in ("proposals", "cams"))
    tables.write("proposals", proposals[proposals["image_id"] != "i1"], changed["proposals"])
    tables.write("cams", cams[cams["expression_id"] != "e2.0"], changed["cams"])
    evaluation = load(changed)
    rows = evaluation.truth.rows
    for name in BASELINES:
        answered = prediction_rows(
            choose(name, evaluation, config(), 0), evaluation.truth, with_map=False
        )
        lost = set(rows["expression_id"]) - set(answered["expression_id"])
        expected: set[str] = set()
        if name not in ("centre", "whole_image", "gradcam_box"):
            expected |= {"e1.0", "e1.1", "e1.2"}
        if name in ("gradcam_ranking", "gradcam_box"):
            expected |= {"e2.0"}
        assert lost == expected, name
    tables.write("proposals", proposals.iloc[:0], changed["proposals"])
    nothing = load(changed)
    assert not choose("objectness", nothing, config(), 0).present.any()
    assert not choose("oracle", nothing, config(), 0).present.any()
