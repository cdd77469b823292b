"""Somebody else's boxes: as other programs write them, rows of the table and its tests; bad ones refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import evaluation_study as study
from camground.evaluation.baselines import BASELINES
from camground.evaluation.methods import number_of
from camground.stages.compare import compare
from camground.stages.methods import methods
from camground.study import tables
from camground.study.errors import UserError

SPLITS = {"splits": ["val", "test"]}
OUTPUTS = {"output": "a.parquet", "csv": "a.csv", "markdown": "a.md", "latex": "a.tex"}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return study.make(tmp_path / "data", images=40)


def true_boxes(paths: dict[str, Path], shift: float = 0.0) -> dict[str, list[float]]:
    """Of the expressions of val and test: x, y, width, height, moved right by `shift`, inside the image."""
    split = tables.read("expressions", paths["expressions"]).set_index("expression_id")["split"]
    boxes = {}
    for row in tables.read("targets", paths["targets"]).itertuples():
        if split[row.expression_id] != "train":
            x1, y1, x2, y2 = map(float, row.boxes_xyxy[0])
            x1, x2 = min(x1 + shift, study.WIDTH - 8), min(x2 + shift, study.WIDTH)
            boxes[row.expression_id] = [x1, y1, x2 - x1, y2 - y1]
    return boxes


def coco_results(paths: dict[str, Path], file: Path, shift: float = 0.0) -> Path:
    """As pycocotools writes results: a list, image_id the number of the questions' file."""
    questions = file.with_name("questions.json")
    compare(paths["images"].parents[1], expressions=questions, split="test")
    entries = []
    for name, box in true_boxes(paths, shift).items():
        entries.append({"image_id": number_of(name), "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.1})
        entries.append({"image_id": number_of(name), "category_id": 1, "bbox": box, "score": 0.8})
    asked = {image["id"] for image in json.loads(questions.read_text())["images"]}
    assert asked < {entry["image_id"] for entry in entries}
    file.write_text(json.dumps(entries))
    return file


def read(paths: dict[str, Path], file: Path, **keys: Any) -> list[dict[str, Any]]:
    """The rows that the stage makes of the file."""
    config = {
        "evaluate": SPLITS,
        "methods": {"theirs": {"boxes": str(file), "supervision": "Boxes.", **keys}},
    }
    output = file.with_name("predictions.parquet")
    rejected = file.with_name("rejected.parquet")
    methods(json.dumps(config), paths["images"], paths["expressions"], rejected, output)
    return tables.read_arrow("predictions", output).to_pylist()


def measured(paths: dict[str, Path], root: Path, name: str, file: Path) -> None:
    folder = root / name / "seed0"
    read(paths, file)
    folder.mkdir(parents=True)
    predictions = file.with_name("predictions.parquet").rename(folder / "predictions.parquet")
    task = {"dataset": "toy", "variant": name, "seed": 0, "evaluate": study.EVALUATE}
    without_maps = {key: path for key, path in paths.items() if key != "cams"}
    outputs = {key: folder / f"{key}.parquet" for key in ("metrics", "outcomes")}
    study.run("evaluate", task, **without_maps, predictions=predictions, **outputs)


def test_coco_results_are_rows_of_the_table_and_of_its_tests(paths: dict[str, Path], tmp_path: Path) -> None:
    """No trained row: two methods beside the rows without training, one of them the reference."""
    measured(paths, tmp_path, "exact", coco_results(paths, tmp_path / "exact.json"))
    measured(paths, tmp_path, "shifted", coco_results(paths, tmp_path / "shifted.json", 60.0))
    study.run_baselines(paths, tmp_path)
    named = {name: {"boxes": f"{name}.json", "supervision": "Boxes."} for name in ("exact", "shifted")}
    task = {"dataset": "toy", "seeds": [0, 1], "variants": [], "baselines": list(BASELINES)}
    task |= {"methods": named, "ablation": {"reference": "exact", "resamples": 200}}
    study.run("ablation", task, root=tmp_path, **{key: tmp_path / name for key, name in OUTPUTS.items()})
    table = tables.read("ablation", tmp_path / "a.parquet")
    rows = table[(table["metric"] == "acc@0.5") & (table["group"] == "all") & (table["split"] == "test")]
    rows = rows.set_index("variant")
    assert rows.loc["exact", "mean"] == 1.0
    assert rows.loc["shifted", "mean"] < 0.2
    tested = {name for name, baseline in BASELINES.items() if baseline.tested} | {"shifted"}
    assert set(rows.index[rows["p_holm"].notna()]) == tested
    assert rows.loc["shifted", "p_holm"] > rows.loc["shifted", "p"]
    text = (tmp_path / "a.md").read_text()
    assert text.index("| shifted") < text.index("| random")
    assert re.search(r"Worse than exact \(p < 0.05 by Holm\):.*shifted", text)


def test_a_csv_of_either_form_gives_the_same_rows(paths: dict[str, Path], tmp_path: Path) -> None:
    boxes = true_boxes(paths)
    lines = [f"{name},{x},{y},{width},{height}" for name, (x, y, width, height) in boxes.items()]
    sides = tmp_path / "a.csv"
    sides.write_text("\n".join(["expression_id,x,y,width,height", *lines]))
    lines = [f"{x},{y},{x + w},{y + h},{name},0.5" for name, (x, y, w, h) in boxes.items()]
    corners = tmp_path / "b.csv"
    corners.write_text("\n".join(["x1,y1,x2,y2,expression_id,score", *lines]))
    first, second = read(paths, sides), read(paths, corners)
    assert [row["box_xyxy"] for row in first] == [row["box_xyxy"] for row in second]
    assert {row["score"] for row in first} == {1.0}
    assert {row["score"] for row in second} == {0.5}
    assert len(first) == len(boxes)


def test_what_is_asked_says_all_that_an_answer_needs_and_no_box(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    compare(tmp_path, expressions=tmp_path / "questions.csv", split="test")
    header, first, *_ = (tmp_path / "questions.csv").read_text().splitlines()
    assert header == "expression_id,split,image,text,width,height"
    assert first == f"e1.0,test,{tmp_path}/data/1.png,red boat,{study.WIDTH},{study.HEIGHT}"


def test_an_expression_without_a_box_has_no_row(
    paths: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = true_boxes(paths)
    lost = list(boxes)[3]
    entries = [{"expression_id": name, "bbox": box} for name, box in boxes.items() if name != lost]
    entries.append({"expression_id": "e3.0", "bbox": [0, 0, 9, 9]})  # of train
    (tmp_path / "a.json").write_text(json.dumps({"annotations": entries}))
    assert {row["expression_id"] for row in read(paths, tmp_path / "a.json")} == boxes.keys() - {lost}
    assert f"1 of {len(boxes)} expressions have no box and count as wrong, such as {lost}" in caplog.text


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"image_id": "i1", "bbox": [0, 0, 9, 9]}, "it is a photograph's id"),
        ({"image_id": 12345, "bbox": [0, 0, 9, 9]}, "no expression of the study"),
        ({"image_id": "e1.0", "bbox": [0, 0, 900, 9]}, "lies outside its image"),
        ({"image_id": "e1.0", "bbox": [0, 0, 9]}, "not four numbers"),
        ({"image_id": "e1.0", "bbox": [0, 0, 9, 9], "score": "high"}, "the score is not a number"),
        ({"image_id": "e1.0", "bbox": [0, 0, 9, 9]}, "a second box of the expression"),
        ([1, 2], "it has no image_id and no bbox"),
    ],
)
def test_a_bad_entry_is_refused_with_its_reason(
    entry: object, said: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    good = [{"image_id": name, "bbox": box} for name, box in true_boxes(paths).items()]
    file = tmp_path / "a.json"
    file.write_text(json.dumps([*good, entry]))
    with pytest.raises(UserError, match=rf"entry {len(good) + 1}:.*{said}(?s:.*)methods.theirs.max_rejected"):
        read(paths, file, max_rejected_share=0.0)
    assert len(read(paths, file, max_rejected_share=0.1)) == len(good)
    (row,) = tables.read_arrow("rejected", tmp_path / "rejected.parquet").to_pylist()
    assert said in row["reason"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "truncated, or not JSON"),
        ('{"boxes": []}', "holds no list of boxes"),
        ("[]", "answers none of the"),
        ('[{"image_id": "e3.0", "bbox": [0, 0, 9, 9]}]', "answers none of the"),
        ('[{"image_id": "e1.0", "bbox": [0.1, 0.1, 0.5, 0.5]}]', "shares of the photograph"),
    ],
)
def test_a_file_that_is_no_answer_is_refused(
    content: str, said: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=said):
        read(paths, tmp_path / "a.json")
    assert not (tmp_path / "predictions.parquet").exists()


def test_a_file_that_is_not_there_is_named(paths: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"methods\.theirs\.boxes: .*gone\.csv: No such file"):
        read(paths, tmp_path / "gone.csv")


def test_compare_prints_the_table_and_its_tests(
    paths: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "proposals").mkdir()
    (tmp_path / "proposals" / "proposals.parquet").write_bytes(paths["proposals"].read_bytes())
    exact = coco_results(paths, tmp_path / "exact.json")
    shifted = coco_results(paths, tmp_path / "shifted.json", 60.0)
    before = sorted(tmp_path.rglob("*"))
    compare(tmp_path, boxes=[f"a={exact}", f"b={shifted}"])
    text = capsys.readouterr().out
    assert re.search(r"\| a +\| +100\.0 .*\| +reference", text)
    assert re.search(r"\| b +\| .*worse", text)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(UserError, match="give two methods or more"):
        compare(tmp_path, boxes=[f"a={exact}"])
    with pytest.raises(UserError, match="no finished row"):
        compare(tmp_path, boxes=[f"a={exact}"], rows=["full"])
