"""Accuracy on val after each epoch: which expressions count, and by which protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evaluation_study as study
from camground.evaluation.ground_truth import GroundTruth
from camground.evaluation.learning_curve import learning_curve
from camground.evaluation.outcomes import Run
from camground.study import tables

RUN = Run("toy", "full", 3)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return study.make(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def truth(paths: dict[str, Path]) -> GroundTruth:
    return study.ground_truth(paths, splits=["val"])


def boxes_of(truth: GroundTruth, *offsets: float) -> list[dict]:
    """Each true box of val moved right by an epoch's offset, ten steps an epoch."""
    moves = [np.array([offset, 0, offset, 0]) for offset in offsets]
    return [
        {"epoch": epoch, "step": 10 * epoch, "expression_id": name, "box_xyxy": (box + move).tolist()}
        for epoch, move in enumerate(moves, 1)
        for name, box in zip(truth.ids, truth.targets.boxes_xyxy, strict=True)
    ]


def history_of(*scores: float) -> list[dict]:
    """The history of trainings with these scores, ten steps an epoch, and a loss beside each."""
    return [
        {"step": 10 * epoch, "epoch": float(epoch), "name": name, "value": value}
        for epoch, score in enumerate(scores, 1)
        for name, value in (("train/loss", 9.0), ("val/score", score))
    ]


def test_each_epoch_has_its_accuracy_and_its_score(truth: GroundTruth) -> None:
    rows, history = boxes_of(truth, 40, 0, 3), history_of(-3.0, -1.0, -2.0)
    curve = learning_curve(truth, RUN, pd.DataFrame(rows), pd.DataFrame(history))
    assert curve[["epoch", "step"]].to_numpy().tolist() == [[1, 10], [2, 20], [3, 30]]
    assert curve["score"].tolist() == [-3.0, -1.0, -2.0]
    assert curve["accuracy"].tolist()[:2] == [0.0, 1.0]
    assert set(curve["n"]) == {len(truth)}
    assert set(zip(curve["variant"], curve["seed"], strict=True)) == {("full", 3)}


def test_no_box_is_wrong_and_no_target_is_left_out(truth: GroundTruth) -> None:
    rows = boxes_of(truth, 0)
    rows[0]["box_xyxy"] = None
    rows.append({**rows[1], "expression_id": "without a target"})
    curve = learning_curve(truth, RUN, pd.DataFrame(rows), pd.DataFrame(history_of(0.5)))
    assert curve["accuracy"].tolist() == [pytest.approx(1 - 1 / len(truth))]
    assert curve["n"].tolist() == [len(truth)]


def test_no_box_at_all_and_no_target_at_all(truth: GroundTruth) -> None:
    rows = [{**row, "box_xyxy": None} for row in boxes_of(truth, 0)]
    history = pd.DataFrame(history_of(0.5))
    assert learning_curve(truth, RUN, pd.DataFrame(rows), history)["accuracy"].tolist() == [0.0]
    unknown = pd.DataFrame([{**row, "expression_id": "x"} for row in rows])
    assert tables.to_arrow("learning_curve", learning_curve(truth, RUN, unknown, history)).num_rows == 0


def test_an_iou_at_the_threshold_counts_as_the_protocol_says(paths: dict[str, Path]) -> None:
    history = pd.DataFrame(history_of(0.5))
    accuracy = []
    for comparison in (">=", ">"):
        truth = study.ground_truth(paths, splits=["val"], iou_comparison=comparison)
        box = truth.targets.boxes_xyxy[0]
        half = [box[0], box[1], box[0] + (box[2] - box[0]) / 2, box[3]]
        row = {"epoch": 1, "step": 10, "expression_id": truth.ids[0], "box_xyxy": half}
        accuracy += learning_curve(truth, RUN, pd.DataFrame([row]), history)["accuracy"].tolist()
    assert accuracy == [1.0, 0.0]


def test_the_stage_measures_val_whatever_splits_are_evaluated(
    paths: dict[str, Path], truth: GroundTruth, tmp_path: Path
) -> None:
    tables.write("val_boxes", boxes_of(truth, 40, 0), tmp_path / "train" / "val_boxes.parquet")
    tables.write("history", history_of(-2.0, -1.0), tmp_path / "train" / "history.parquet")
    protocol = {**study.EVALUATE, "splits": ["test"]}
    config = {"dataset": "toy", "variant": "full", "seed": 3, "evaluate": protocol}
    outputs = {name: tmp_path / f"{name}.parquet" for name in ("metrics", "outcomes", "learning_curve")}
    predictions = study.predict(paths, tmp_path / "predictions.parquet")
    study.run("evaluate", config, **paths, **outputs, predictions=predictions, train_dir=tmp_path / "train")
    curve = tables.read("learning_curve", outputs["learning_curve"])
    assert curve["accuracy"].tolist() == [0.0, 1.0]
    assert set(tables.read("metrics", outputs["metrics"])["split"]) == {"test"}
