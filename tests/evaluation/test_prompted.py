"""Open-vocabulary detectors prompted with each expression: tiny checkpoints, loaded by their folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evaluation_study as study
import tiny_detectors
from camground.data.boxes import area, clip
from camground.stages.methods import MethodsInput, methods
from camground.study import tables
from camground.study.errors import UserError

KINDS = ("owlv2", "grounding-dino")
ROOM = {"owlv2": 8, "grounding-dino": 32}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("detectors")
    return {kind: tiny_detectors.make(kind, folder / kind) for kind in ("detr", "owlvit", *KINDS)}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Eight photographs; two of val and four of test, each with three expressions."""
    made = study.make(tmp_path / "data", images=8)
    for number in range(8):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((study.WIDTH, study.HEIGHT), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "data" / f"{number}.png")
    return made


def answers(paths: dict[str, Path], detector: Path | str) -> dict[str, dict[str, Any]]:
    """What the stage writes, by expression."""
    method = {"detector": str(detector), "supervision": "Boxes."}
    config = {"evaluate": {"splits": ["val", "test"]}, "methods": {"theirs": method}}
    folder = paths["images"].parent
    output, rejected = folder / "predictions.parquet", folder / "rejected.parquet"
    methods(json.dumps(config), paths["images"], paths["expressions"], rejected, output)
    assert not tables.read_arrow("rejected", rejected).num_rows
    rows = tables.read_arrow("predictions", output).to_pylist()
    return {row["expression_id"]: row for row in rows}


def expected(folder: Path, kind: str, picture: Path, text: str) -> tuple[float, np.ndarray]:
    """Score and box by the model itself, shown this photograph and this expression alone."""
    import transformers as t

    model = t.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    image = Image.open(picture)
    seen = dict(t.AutoImageProcessor.from_pretrained(folder)(image, return_tensors="pt"))
    text = f"{text}." if kind == "grounding-dino" else text
    options = {"truncation": True, "max_length": ROOM[kind], "return_tensors": "pt"}
    seen |= t.AutoTokenizer.from_pretrained(folder)([text], **options)
    with torch.no_grad():
        said = model(**seen)
    scores = said.logits[0].sigmoid().amax(-1).numpy()
    centre, side = said.pred_boxes[0].split(2, dim=-1)
    shares = torch.cat([centre - side / 2, centre + side / 2], -1).numpy()
    # OWLv2 pads a photograph to a square, at the right or the bottom
    scale = [max(image.size)] * 4 if kind == "owlv2" else [*image.size] * 2
    boxes = clip(shares * np.array(scale, float), *image.size)
    index = np.where(area(boxes) > 0, scores, 0).argmax()
    return scores[index], boxes[index]


@pytest.mark.parametrize("kind", KINDS)
def test_each_expression_has_the_best_box_of_the_model_that_is_shown_it_alone(
    kind: str, checkpoints: dict[str, Path], paths: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    found = answers(paths, checkpoints[kind])
    texts = tables.read("expressions", paths["expressions"])
    texts = texts[texts["split"] != "train"]
    assert list(found) == texts["expression_id"].tolist()
    for row in texts.itertuples():
        picture = paths["images"].with_name(f"{row.image_id[1:]}.png")
        score, box = expected(checkpoints[kind], kind, picture, row.text)
        answer = found[row.expression_id]
        assert answer["score"] == pytest.approx(score, abs=1e-4)
        assert answer["box_xyxy"] == pytest.approx(box, abs=0.05)
        assert answer["chosen_box_xyxy"] == answer["box_xyxy"]
    of_photograph = {
        tuple(found[f"e1.{number}"]["box_xyxy"]) + (found[f"e1.{number}"]["score"],) for number in range(3)
    }
    assert len(of_photograph) == 3  # the words count
    cut = f"12 of {len(found)} expressions are cut to the {ROOM[kind]} tokens" in caplog.text
    assert cut == (kind == "owlv2")  # of which `small` is five


def test_they_are_measured_as_all_others(
    checkpoints: dict[str, Path], paths: dict[str, Path], tmp_path: Path
) -> None:
    answers(paths, checkpoints["owlvit"])
    task = {"dataset": "toy", "variant": "theirs", "seed": 0, "evaluate": study.EVALUATE}
    without_maps = {key: path for key, path in paths.items() if key != "cams"}
    outputs = {key: tmp_path / f"{key}.parquet" for key in ("metrics", "outcomes")}
    predictions = paths["images"].with_name("predictions.parquet")
    study.run("evaluate", task, **without_maps, predictions=predictions, **outputs)
    assert tables.read("outcomes", outputs["outcomes"])["expression_id"].nunique() == 18


def test_without_a_score_above_0_there_is_no_answer(
    checkpoints: dict[str, Path], paths: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import Owlv2ForObjectDetection

    folder = tmp_path / "blind"
    shutil.copytree(checkpoints["owlv2"], folder)
    model = Owlv2ForObjectDetection.from_pretrained(folder)
    with torch.no_grad():
        model.class_head.logit_shift.weight.zero_()
        model.class_head.logit_shift.bias.fill_(-1e4)
    model.save_pretrained(folder)
    assert answers(paths, folder) == {}
    assert "18 of 18 expressions have no box and count as wrong" in caplog.text


def test_a_model_that_cannot_be_prompted_is_named(
    checkpoints: dict[str, Path], paths: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"methods\.theirs\.detector: .*'detr', which .*no expressions"):
        answers(paths, checkpoints["detr"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"methods\.theirs\.detector: cannot load .*empty.* must hold config"):
        answers(paths, tmp_path / "empty")
    with pytest.raises(UserError, match=r"methods\.theirs\.detector: cannot load .*no/such/model"):
        answers(paths, "no/such/model")
    lacking = shutil.copytree(checkpoints["owlv2"], tmp_path / "wordless")
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (lacking / file).unlink()
    with pytest.raises(UserError, match=r"methods\.theirs\.detector: cannot load .*wordless"):
        answers(paths, lacking)
    assert not paths["images"].with_name("predictions.parquet").exists()


def test_a_photograph_that_cannot_be_read_is_named(
    checkpoints: dict[str, Path], paths: dict[str, Path]
) -> None:
    paths["images"].with_name("5.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"5\.png: unreadable"):
        answers(paths, checkpoints["owlv2"])
    assert not paths["images"].with_name("predictions.parquet").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"methods\.theirs: neither is given of boxes, a file, and detector"),
        ({"boxes": "a.json", "detector": "some/model"}, r"methods\.theirs: both are given of boxes"),
        ({"detector": ""}, r"methods\.theirs\.detector: must be some text"),
        ({"detecter": "some/model"}, r"methods\.theirs\.detecter: unknown key; did you mean `detector`"),
    ],
)
def test_a_method_has_boxes_or_a_detector(given: dict[str, str], said: str) -> None:
    config = {"evaluate": {}, "methods": {"theirs": {"supervision": "Boxes.", **given}}}
    with pytest.raises(UserError, match=said):
        MethodsInput.parse(config)
