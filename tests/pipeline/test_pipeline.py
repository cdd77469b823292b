"""Grounding of a photograph from its file alone agrees with the stages' tables."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from camground.data import boxes
from camground.grounder.batches import CamTable
from camground.grounder.config import PredictConfig
from camground.grounder.model_folder import GroundingSettings, read_settings, save_model
from camground.matcher.config import GradcamConfig
from camground.matcher.gradcam import MatcherCam
from camground.pipeline import GroundingPipeline
from camground.proposals.config import ProposalsConfig
from camground.proposals.thinning import Proposals
from camground.study import tables
from camground.study.errors import UserError
from conftest import Run, Workflow
from proposals_stage import labels_of
from tiny_grounder import OFF
from tiny_study import make_photograph_study, run_predict, run_train

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@pytest.fixture(scope="module")
def labelled_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    labels = ["boat", None, "dog", "small house"]
    return make_photograph_study(tmp_path_factory.mktemp("labelled"), labels)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_photograph_study(tmp_path_factory.mktemp("study"))


def make_model(
    paths: dict[str, Path], folder: Path, predict: dict[str, Any] | None = None, **options: Any
) -> Path:
    """The model folder of a small training with `options`; `predict`: the section of that name."""
    checkpoint = run_train(paths, folder / "train", per_image=1, **options)
    settings = GroundingSettings(
        proposals=ProposalsConfig(),
        gradcam=GradcamConfig(method="gradcam"),
        predict=PredictConfig.parse(predict or {}),
    )
    return save_model(checkpoint, paths["matcher"], settings, folder / "model")


def open_model(paths: dict[str, Path], model: Path) -> GroundingPipeline:
    """The pipeline, which takes a photograph's proposals from the study's table."""
    pipeline = GroundingPipeline.from_pretrained(model)
    table = tables.read("proposals", paths["proposals"])

    def from_table(photograph: Path) -> tuple[Proposals, np.ndarray]:
        rows = table[table["image_id"] == photograph.stem].sort_values("rank")
        boxes, objectness = np.stack(rows["box_xyxy"].tolist()), rows["objectness"].to_numpy()
        found = Proposals(boxes, objectness, rows["source"].tolist(), labels_of(rows))
        return found, np.array([64.0, 64.0])

    pipeline._propose = from_table  # type: ignore[method-assign]
    return pipeline


def text_of(paths: dict[str, Path], expression: str) -> str:
    table = tables.read("expressions", paths["expressions"]).set_index("expression_id")
    return str(table.loc[expression, "text"])


def box_of(answer: dict[str, Any]) -> list[float]:
    return [answer["box"][corner] for corner in CORNERS]


@pytest.mark.parametrize(
    ("predict", "options"),
    [
        ({}, {}),
        # the box of the map has all the say, or there is none
        ({"map_boxes": [0.5], "voting": {"iou": 0.05, "map_weight": 1e4}}, {}),
        ({"map_boxes": []}, {}),
        ({}, {"tuned": {"backbone": 2, "language": 1, "rate": 1.0}, "learning_rate": 0.01}),
    ],
    ids=["plain", "map_box", "no_map_boxes", "tuned"],
)
def test_a_photograph_and_a_text_give_the_row_that_predict_writes(
    paths: dict[str, Path], tmp_path: Path, predict: dict[str, Any], options: dict[str, Any]
) -> None:
    model = make_model(paths, tmp_path, predict, **options)
    output, _ = run_predict(paths, tmp_path / "train", tmp_path, splits=["val"], **predict)
    predictions = tables.read("predictions", output).set_index("expression_id")
    pipeline = open_model(paths, model)
    for name in ("val0", "val1"):
        # with the CAM of the table, so that all else must agree
        cam = CamTable(paths["cams"], [name]).take(np.array([0]))
        pipeline._matcher_cam = lambda *_, cam=cam: cam  # type: ignore[method-assign]
        text = text_of(paths, name)
        (answer,) = pipeline(paths["images"].parent / f"{name}.png", [text])
        assert answer["label"] == text
        assert answer["score"] == pytest.approx(predictions.loc[name, "score"], abs=2e-3)
        assert box_of(answer) == pytest.approx(list(predictions.loc[name, "box_xyxy"]), abs=0.1)


@pytest.mark.parametrize("tuned", [0, 1], ids=["frozen", "tuned"])
def test_labels_say_the_same_of_a_photograph_as_in_the_study(
    labelled_paths: dict[str, Path], tmp_path: Path, tuned: int
) -> None:
    options = {"tuned": {"language": tuned, "rate": 1.0}, "learning_rate": 0.01}
    model = make_model(labelled_paths, tmp_path, **options)
    output, _ = run_predict(labelled_paths, tmp_path / "train", tmp_path, splits=["val"])
    scores = tables.read("predictions", output).set_index("expression_id")["score"]
    pipeline = open_model(labelled_paths, model)
    assert pipeline.trained.model.label is not None
    assert pipeline.trained.model.label.weight.any()
    photograph, text = labelled_paths["images"].parent / "val0.png", text_of(labelled_paths, "val0")
    cam = CamTable(labelled_paths["cams"], ["val0"]).take(np.array([0]))
    pipeline._matcher_cam = lambda *_: cam  # type: ignore[method-assign]
    (answer,) = pipeline(photograph, [text])
    assert answer["score"] == pytest.approx(scores["val0"], abs=2e-3)
    pipeline._labels = lambda *_: None  # type: ignore[method-assign]
    (without,) = pipeline(photograph, [text])
    assert abs(without["score"] - answer["score"]) > 0.01


def test_the_matcher_reads_the_frozen_features_where_others_were_trained(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = {"backbone": 2, "language": 1, "rate": 1.0}
    model = make_model(paths, tmp_path, tuned=tuned, learning_rate=0.01)
    read = []
    draw = MatcherCam.__call__

    def spy(self: MatcherCam, features: torch.Tensor, *rest: Any) -> np.ndarray:
        read.append(features)
        return draw(self, features, *rest)

    monkeypatch.setattr(MatcherCam, "__call__", spy)
    pipeline = open_model(paths, model)
    pipeline(paths["images"].parent / "val0.png", ["red boat"])
    cached = np.load(paths["features"] / "visual.npy")[4].astype(np.float32)
    assert np.allclose(read[0][0].numpy(), cached, atol=5e-3)


def test_texts_together_are_grounded_as_alone(paths: dict[str, Path], tmp_path: Path) -> None:
    pipeline = open_model(paths, make_model(paths, tmp_path, epochs=1))
    photograph = paths["images"].parent / "val0.png"
    texts = ["red boat", "the small blue house left of the tree"]
    together = pipeline(photograph, texts)
    assert [answer["label"] for answer in together] == texts
    for answer in together:
        (alone,) = pipeline(photograph, [answer["label"]])
        assert answer["score"] == pytest.approx(alone["score"], abs=1e-4)
        assert box_of(answer) == pytest.approx(box_of(alone), abs=1e-2)
        xmin, ymin, xmax, ymax = box_of(answer)
        assert 0 <= xmin < xmax <= 64
        assert 0 <= ymin < ymax <= 64
    assert pipeline(photograph, []) == []
    for nothing in ("", " ?", None):
        with pytest.raises(UserError, match=rf"phrase 2: {re.escape(repr(nothing))} names nothing"):
            pipeline(photograph, ["red boat", nothing])


def test_a_photograph_without_proposals_is_refused(paths: dict[str, Path], tmp_path: Path) -> None:
    pipeline = open_model(paths, make_model(paths, tmp_path, epochs=1))
    nothing = Proposals(np.zeros((0, 4)), np.zeros(0), [], []), np.array([64.0, 64.0])
    pipeline._propose = lambda photograph: nothing  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"val0\.png: no proposals; set proposals\.whole_image: true"):
        pipeline(paths["images"].parent / "val0.png", ["boat"])


def test_a_model_of_a_control_is_shown_the_controls_map(paths: dict[str, Path], tmp_path: Path) -> None:
    photograph, texts = paths["images"].parent / "val0.png", ["red boat", "boat"]

    def answers(control: str, **encoder: Any) -> list[float]:
        folder = tmp_path / f"{control}{encoder}"
        section = {"cam_encoder": {"control": control, **encoder}}
        model = make_model(paths, folder, grounder=section, epochs=1, learning_rate=1e-9)
        pipeline = open_model(paths, model)
        return [answer["score"] for answer in pipeline(photograph, texts)]

    scores = {control: answers(control) for control in ("none", "uniform", "centre")}
    assert scores["none"] != scores["uniform"] != scores["centre"]
    with pytest.raises(UserError, match="shuffled shows the CAM of another expression"):
        answers("shuffled")
    # without an encoder nothing is shown
    assert len(answers("shuffled", **OFF)) == 2


def test_a_model_folder_keeps_what_grounding_needs(paths: dict[str, Path], tmp_path: Path) -> None:
    model = make_model(paths, tmp_path, epochs=1)
    files = sorted(str(path.relative_to(model)) for path in model.rglob("*") if path.is_file())
    assert files == [
        *(f"grounder/{name}" for name in ("checkpoint.safetensors", "config.yaml")),
        "grounding.json",
        *(f"matcher/{name}" for name in ("checkpoint.safetensors", "config.yaml")),
    ]
    assert read_settings(model).gradcam.method == "gradcam"
    settings = json.loads((model / "grounding.json").read_text())
    settings["predict"]["voting"]["deccay"] = 1.0
    (model / "grounding.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"grounding\.json: (.*\n)+.*predict\.voting\.deccay: unknown key"):
        GroundingPipeline.from_pretrained(model)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder that the stage `tracking` made"):
        GroundingPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("device", ["graphics card", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device: str, paths: dict[str, Path], tmp_path: Path) -> None:
    model = make_model(paths, tmp_path, epochs=1)
    with pytest.raises(UserError, match=f"device '{device}': cannot be used here"):
        GroundingPipeline.from_pretrained(model, device)


@pytest.mark.workflow
def test_the_model_of_the_smoke_study_gives_the_predictions_of_its_stages(
    smoke: tuple[Workflow, Run], tmp_path: Path
) -> None:
    root = smoke[0].folder / "results" / "smoke"
    expressions = tables.read("expressions", root / "data" / "expressions.parquet")
    expressions = expressions[(expressions["split"] == "test") & (expressions["kind"] == "phrase")]
    images = tables.read("images", root / "data" / "images.parquet")["image_id"]
    photographs = dict(zip(images, tables.image_paths(root / "data" / "images.parquet"), strict=True))
    pipeline = GroundingPipeline.from_pretrained(root / "model")
    config = (root / "model" / "grounder" / "config.yaml").read_text()
    seed = int(config.split("seed: ")[1].split()[0])

    def agreement(predictions: Path, least_iou: float) -> float:
        """Share of the expressions whose box the pipeline finds where the stage did."""
        box: pd.Series = tables.read("predictions", predictions).set_index("expression_id")["box_xyxy"]
        agree = []
        for image, rows in expressions.groupby("image_id"):
            answers = pipeline(photographs[image], rows["text"].tolist())
            for name, answer in zip(rows["expression_id"], answers, strict=True):
                iou = boxes.pairwise_iou(np.array([box_of(answer)]), np.array([box[name]]))[0, 0]
                agree.append(iou > least_iou)
        return float(np.mean(agree))

    # The cache rounds features to half precision and CAMs to bytes, so a tie may fall the other way, and the
    # box around a CAM may end a cell of it further or surround another of its parts ...
    assert agreement(root / "full" / f"seed{seed}" / "predictions.parquet", 0.95) > 0.85
    # ... proposals alone stay where they are.
    alone = PredictConfig(map_boxes=())
    paths = {name: root / "data" / f"{name}.parquet" for name in ("images", "expressions")}
    paths |= {"proposals": root / "proposals" / "proposals.parquet", "features": root / "features"}
    paths |= {"cams": root / "gradcam" / f"seed{seed}" / "cams.parquet"}
    trained = root / "full" / f"seed{seed}" / "train"
    output, _ = run_predict(paths, trained, tmp_path, splits=["test"], map_boxes=[])
    pipeline.settings = pipeline.settings.model_copy(update={"predict": alone})
    assert agreement(output, 0.99) > 0.9


@pytest.mark.workflow
def test_the_command_prints_boxes_and_draws_them(smoke: tuple[Workflow, Run], tmp_path: Path) -> None:
    root = smoke[0].folder / "results" / "smoke"
    picture = next((root / "data" / "pictures" / "test").glob("*.png"))
    command = [sys.executable, "-m", "camground.cli", "ground", str(root / "model"), str(picture)]
    done = subprocess.run(
        [*command, "the red boat", "house", "--drawn", str(tmp_path / "drawn.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.strip().splitlines()
    assert lines[0] == "text,x1,y1,x2,y2,score"
    assert lines[1].startswith("the red boat,")
    assert len(lines) == 3
    assert (tmp_path / "drawn.png").exists()
