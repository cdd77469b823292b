"""A study of somebody else's boxes and no training, through the real `snakemake`, to report and MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from camground.evaluation.methods import number_of
from camground.stages.compare import compare
from camground.study import tables
from camground.tracking.store import connect, find_store
from conftest import Workflow, copy_workflow

STUDY = (
    "--configfile",
    "configs/smoke.yaml",
    "configs/compare.yaml",
    "--config",
    "ablation={resamples: 200}",
)
METHODS = (
    "methods={theirs: {boxes: theirs.json, supervision: Boxes of others.},"
    " corner: {boxes: corner.csv, supervision: Nothing.}}"
)
TRAINS = {"features", "matcher", "gradcam", "train", "predict"}


def test_nothing_is_trained_and_no_map_is_drawn(workflow: Workflow) -> None:
    run = workflow.dry("--configfile", "configs/compare.yaml")
    assert run.jobs.keys() == {"data", "proposals", "baselines", "ablation", "report", "tracking"}


def test_maps_of_a_pretrained_model_need_no_training(workflow: Workflow) -> None:
    source = "gradcam={source: blip, model: some/blip}"
    study = ("--configfile", "configs/compare.yaml", "--config", source, "ablation={reference: gradcam_box}")
    assert workflow.dry(*study).jobs.keys() & TRAINS == {"gradcam"}


def test_detectors_are_prompted_on_the_pictures_and_train_nothing(workflow: Workflow) -> None:
    boxes = "methods={a: {boxes: config.yaml, supervision: x}}"
    study = ("--configfile", "configs/open_vocabulary.yaml", "--config", boxes)
    run = workflow.dry("--quiet", "host", *study)
    assert run.jobs["methods"] == 3, run.text
    assert run.jobs.keys() & TRAINS == set()
    for name, looks in {"grounding_dino": True, "owlv2": True, "a": False}.items():
        reason = run.text.partition(f"Boxes of {name}\n")[2].partition("\n")[0]
        assert "data/images.parquet" in reason
        assert ("data/pictures" in reason) == looks


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("ablation={reference: full}", "none of the rows, as no variant runs: random, centre"),
        ("methods={full: {boxes: config.yaml, supervision: x}}", "methods.full: a variant has this name"),
        ("methods={random: {boxes: a.json, supervision: x}}", "the name is taken by a stage or a baseline"),
        ("methods={a: {boxes: gone.json, supervision: x}}", "methods.a.boxes: no file gone.json"),
        ("methods={a: {boxes: config.yaml}}", "methods.a.supervision"),
        ("methods={a: {supervision: x}}", "methods.a: neither is given of boxes, a file, and detector"),
    ],
)
def test_what_cannot_be_compared_is_said_before_any_job(config: str, said: str, workflow: Workflow) -> None:
    run = workflow.snakemake("--dry-run", "--configfile", "configs/compare.yaml", "--config", config)
    assert run.status != 0
    assert said in run.text


@pytest.mark.workflow
def test_boxes_of_others_go_through_to_report_and_mlflow(tmp_path: Path) -> None:
    workflow = copy_workflow(tmp_path)
    root = tmp_path / "results" / "compare"
    workflow.run(*STUDY, "--", "proposals")
    compare(root, expressions=tmp_path / "questions.json", split="test")
    targets = tables.read("targets", root / "data" / "targets.parquet").set_index("expression_id")
    theirs, corner = [], ["expression_id,x,y,width,height"]
    asked = json.loads((tmp_path / "questions.json").read_text())["images"]
    for one in asked:
        x1, y1, x2, y2 = map(float, targets.loc[one["expression_id"], "boxes_xyxy"][0])
        assert one["id"] == number_of(one["expression_id"])
        theirs.append(
            {"image_id": one["id"], "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 1}
        )
        corner.append(f"{one['expression_id']},0,0,12,12")
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))
    (tmp_path / "corner.csv").write_text("\n".join(corner[:-1]))

    run = workflow.run(*STUDY, METHODS)
    assert run.jobs.keys() & TRAINS == set()
    table = tables.read("ablation", root / "ablation.parquet")
    rows = table[(table["metric"] == "acc@0.5") & (table["group"] == "all")].set_index("variant")
    assert rows.loc["theirs", "mean"] == 1.0
    assert set(rows.index[rows["p_holm"].notna()]) == {"theirs", "corner"}
    page = (root / "report.html").read_text()
    assert "Boxes of others." in page
    assert f"It answers {len(asked) - 1} of {len(asked)} expressions" in page
    store = find_store(tmp_path / "results")
    client = connect(store)
    experiment = client.get_experiment_by_name("compare-detected")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs["theirs"].data.params["supervision"] == "Boxes of others."
    assert runs["theirs"].data.metrics["test/acc_0.5"] == 1.0
