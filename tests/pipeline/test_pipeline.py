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
from PIL import Image

import camground
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
from file_server import Server
from proposals_stage import labels_of
from tiny_grounder import OFF
from tiny_study import make_photograph_study, run_predict, run_train, some_calibration

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
    return save_model(checkpoint, paths["matcher"], some_calibration(folder), settings, folder / "model")


def open_model(paths: dict[str, Path], model: Path) -> GroundingPipeline:
    """The pipeline, which takes a photograph's proposals from the study's table."""
    pipeline = GroundingPipeline.from_pretrained(model)
    table = tables.read("proposals", paths["proposals"])

    def from_table(photograph: Path, size: tuple[int, int]) -> tuple[Proposals, np.ndarray]:
        rows = table[table["image_id"] == photograph.stem].sort_values("rank")
        boxes, objectness = np.stack(rows["box_xyxy"].tolist()), rows["objectness"].to_numpy()
        found = Proposals(boxes, objectness, rows["source"].tolist(), labels_of(rows))
        return found, np.array([64.0, 64.0])

    pipeline._propose = from_table  # type: ignore[method-assign]
    return pipeline


def text_of(paths: dict[str, Path], expression: str) -> str:
    table = tables.read("expressions", paths["expressions"]).set_index("expression_id")
    return str(table.loc[expression, "text"])


def probability(image_score: float) -> float:
    """That of a model with `some_calibration`."""
    return float(1 / (1 + np.exp(-(1.5 * np.log(image_score / (1 - image_score)) + 2))))


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
        assert answer["score"] == pytest.approx(probability(predictions.loc[name, "image_score"]), abs=1e-3)
        assert box_of(answer) == pytest.approx(list(predictions.loc[name, "box_xyxy"]), abs=0.1)


@pytest.mark.parametrize("tuned", [0, 1], ids=["frozen", "tuned"])
def test_labels_say_the_same_of_a_photograph_as_in_the_study(
    labelled_paths: dict[str, Path], tmp_path: Path, tuned: int
) -> None:
    options = {"tuned": {"language": tuned, "rate": 1.0}, "learning_rate": 0.01}
    model = make_model(labelled_paths, tmp_path, **options)
    output, _ = run_predict(labelled_paths, tmp_path / "train", tmp_path, splits=["val"])
    scores = tables.read("predictions", output).set_index("expression_id")["image_score"]
    pipeline = open_model(labelled_paths, model)
    assert pipeline.trained.model.label is not None
    assert pipeline.trained.model.label.weight.any()
    photograph, text = labelled_paths["images"].parent / "val0.png", text_of(labelled_paths, "val0")
    cam = CamTable(labelled_paths["cams"], ["val0"]).take(np.array([0]))
    pipeline._matcher_cam = lambda *_: cam  # type: ignore[method-assign]
    (answer,) = pipeline(photograph, [text])
    assert answer["score"] == pytest.approx(probability(scores["val0"]), abs=1e-3)
    pipeline._labels = lambda *_: None  # type: ignore[method-assign]
    (without,) = pipeline(photograph, [text])
    assert abs(without["score"] - answer["score"]) > 0.002


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
    pipeline._propose = lambda *_: nothing  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"val0\.png: no proposals; set proposals\.whole_image: true"):
        pipeline(paths["images"].parent / "val0.png", ["boat"])


def test_a_model_of_a_control_is_shown_the_controls_map(paths: dict[str, Path], tmp_path: Path) -> None:
    photograph, texts = paths["images"].parent / "val0.png", ["red boat", "boat"]

    def answers(control: str, **encoder: Any) -> list[float]:
        folder = tmp_path / f"{control}{encoder}"
        section = {"cam_encoder": {"control": control, **encoder}}
        model = make_model(paths, folder, grounder=section, epochs=1, learning_rate=1e-9)
        pipeline = open_model(paths, model)
        # the score of the image sees no CAM, so that of the candidates tells what is shown
        answers = pipeline(photograph, texts, candidates=True)
        return [answer["candidate_scores"].max() for answer in answers]

    scores = {control: answers(control) for control in ("none", "uniform", "centre")}
    assert scores["none"] != scores["uniform"] != scores["centre"]
    with pytest.raises(UserError, match="shuffled shows the CAM of another expression"):
        answers("shuffled")
    # without an encoder nothing is shown
    assert len(answers("shuffled", **OFF)) == 2


def test_a_model_folder_keeps_what_grounding_needs(paths: dict[str, Path], tmp_path: Path) -> None:
    model = make_model(paths, tmp_path, epochs=1)
    files = sorted(str(path.relative_to(model)) for path in model.rglob("*") if path.is_file())
    parts = ("checkpoint.safetensors", "config.yaml")
    grounder, matcher = ([f"{part}/{name}" for name in parts] for part in ("grounder", "matcher"))
    assert files == ["calibration.json", *grounder, "grounding.json", *matcher]
    assert read_settings(model).gradcam.method == "gradcam"
    settings = json.loads((model / "grounding.json").read_text())
    settings["predict"]["voting"]["deccay"] = 1.0
    (model / "grounding.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"grounding\.json: (.*\n)+.*predict\.voting\.deccay: unknown key"):
        GroundingPipeline.from_pretrained(model)


def test_a_model_of_an_earlier_version_says_what_to_run(paths: dict[str, Path], tmp_path: Path) -> None:
    model = make_model(paths, tmp_path, epochs=1)
    (model / "calibration.json").unlink()
    with pytest.raises(UserError, match=r"model: holds no calibration\.json; another version.*run the study"):
        GroundingPipeline.from_pretrained(model)
    (model / "calibration.json").write_text('{"slope": 1, "bais": 2}')
    with pytest.raises(UserError, match=r"calibration\.json.*bais: unknown key"):
        GroundingPipeline.from_pretrained(model)


@pytest.fixture(scope="module")
def pipeline(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> GroundingPipeline:
    return GroundingPipeline.from_pretrained(make_model(paths, tmp_path_factory.mktemp("one"), epochs=1))


def test_the_package_gives_the_pipeline_when_it_is_asked_for() -> None:
    program = "import camground, sys\nassert 'torch' not in sys.modules\nprint(camground.GroundingPipeline)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "camground.pipeline.GroundingPipeline" in done.stdout
    with pytest.raises(AttributeError, match="has no attribute 'Grounding'"):
        camground.Grounding  # noqa: B018


def test_a_photograph_of_any_kind_gives_the_same_answers(
    pipeline: GroundingPipeline, paths: dict[str, Path]
) -> None:
    file = paths["images"].parent / "val0.png"
    server, picture = Server(), Image.open(file)
    address = server.add("/val0.png", content=file.read_bytes())
    kinds = [file, str(file), file.read_bytes(), picture, np.asarray(picture.convert("RGB")), address]
    (expected,) = pipeline(file, ["red boat"])
    for kind in kinds:
        assert pipeline(kind, ["red boat"]) == [expected]
    first, second, nothing = pipeline([file, picture, file], [["red boat"], ["boat", "red boat"], []])
    assert first == [expected]
    assert second[1]["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert nothing == []


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4)), r"an array of shape \(4, 4\) and type float64 is no photograph; give one"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\) and type uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (7, "a int is no photograph; give a file, its address"),
        (None, "a NoneType is no photograph"),
        (b"nothing", "the photograph given: unreadable: not an image that Pillow knows"),
        (Path("http://127.0.0.1/a.png"), "no such photograph"),
        ("ftp://127.0.0.1/a.png", "no such photograph"),
    ],
)
def test_what_is_no_photograph_is_refused(pipeline: GroundingPipeline, image: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        pipeline(image, ["red boat"])


def test_images_and_lists_of_phrases_must_be_as_many(
    pipeline: GroundingPipeline, paths: dict[str, Path]
) -> None:
    file = paths["images"].parent / "val0.png"
    for phrases in (["red boat"], [["red boat"], ["boat"]]):
        with pytest.raises(UserError, match="1 images need as many lists of phrases"):
            pipeline([file], phrases)
    with pytest.raises(UserError, match=r"phrases: give a list, such as \['red boat'\]"):
        pipeline(file, "red boat")


def test_maps_and_candidates_are_given_on_request(
    pipeline: GroundingPipeline, paths: dict[str, Path]
) -> None:
    file = paths["images"].parent / "val0.png"
    plain = pipeline(file, ["red boat", "boat"])
    answers = pipeline(file, ["red boat", "boat"], cams=True, candidates=True)
    for answer, alone in zip(answers, plain, strict=True):
        assert {key: answer[key] for key in alone} == alone
        for name in ("own_cam", "matcher_cam"):
            assert answer[name].shape == (8, 8)
            assert 0 <= answer[name].min() <= answer[name].max() <= 1
        scores, boxes = answer["candidate_scores"], answer["candidates"]
        assert (np.diff(scores) <= 0).all()
        assert boxes.shape == (len(scores), 4)
        assert (boxes >= 0).all()
        assert (boxes <= 64.001).all()


def test_a_model_is_saved_and_pushed_whole(
    pipeline: GroundingPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pipeline.folder / "README.md").write_text("card")
    (pipeline.folder / "notes.txt").write_text("somebody's own")
    saved = pipeline.save_pretrained(tmp_path / "saved")
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert {"README.md", "calibration.json", "grounder/config.yaml"} < files
    assert "notes.txt" not in files
    assert GroundingPipeline.from_pretrained(saved).calibration == pipeline.calibration
    with pytest.raises(UserError, match="is the model itself"):
        pipeline.save_pretrained(pipeline.folder)
    calls: list[Any] = []

    class Hub:
        def __init__(self, token: str | None) -> None:
            calls.append(token)

        def create_repo(self, name: str, private: bool | None, exist_ok: bool) -> None:
            if name == "me/none":
                raise OSError("401 Client Error\nmore")
            calls.append((name, private, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str], **_: Any) -> str:
            calls.append((repo_id, folder_path, set(allow_patterns)))
            return "https://hub/me/boats/commit/1"

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert pipeline.push_to_hub("me/boats", private=True, token="t") == "https://hub/me/boats/commit/1"
    assert calls == ["t", ("me/boats", True, True), ("me/boats", pipeline.folder, files)]
    with pytest.raises(UserError, match=r"me/none: cannot be uploaded \(401 Client Error\)"):
        pipeline.push_to_hub("me/none")


def test_a_name_on_the_hub_is_downloaded(
    pipeline: GroundingPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot_download(name: str, revision: str | None) -> str:
        asked.append((name, revision))
        if name == "me/none":
            raise OSError("no network")
        return str(pipeline.folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    found = GroundingPipeline.from_pretrained("me/boats", revision="v1")
    assert found.folder == pipeline.folder
    assert asked == [("me/boats", "v1")]
    with pytest.raises(UserError, match=r"me/none: no such folder, and the hub does not give it"):
        GroundingPipeline.from_pretrained("me/none")
    (tmp_path / "me" / "boats").mkdir(parents=True)
    with pytest.raises(UserError, match="me/boats: not a folder that the stage"):
        GroundingPipeline.from_pretrained("me/boats")
    assert len(asked) == 2


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
    assert lines[0] == "image,phrase,xmin,ymin,xmax,ymax,score"
    assert lines[1].startswith(f"{picture},the red boat,")
    assert len(lines) == 3
    assert (tmp_path / "drawn.png").exists()
