"""The workflow, through the real `snakemake`: dry runs of every study, and the smoke study in full."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from camground.stages.config import StudyConfig
from camground.study import tables
from conftest import REPOSITORY, Run, Workflow

STUDIES = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.yaml"))
VARIANTS = StudyConfig().variant_names
SMOKE = ("--configfile", "configs/smoke.yaml")
AFTER_PREDICT = {"evaluate": 4, "baselines": 1, "ablation": 1, "report": 1, "tracking": 1}
AFTER_TRAIN = {"train": 4, "predict": 4, "evaluate": 4, "ablation": 1, "report": 1, "tracking": 1}


def photographs(folder: Path) -> Path:
    """A folder that looks like one of photographs to the config."""
    (folder / "images").mkdir(parents=True)
    (folder / "captions.csv").write_text("image,caption\n")
    return folder


# Dry runs


def test_default_study_runs_every_variant_seed_and_stage(workflow: Workflow) -> None:
    seeds = len(StudyConfig().seeds)
    trainings = len(VARIANTS) * seeds
    once = ("data", "proposals", "features", "baselines")
    expected = dict.fromkeys((*once, "ablation", "report", "tracking"), 1)
    expected |= dict.fromkeys(("matcher", "gradcam"), seeds)
    expected |= dict.fromkeys(("train", "predict", "evaluate"), trainings)
    assert workflow.dry().jobs == expected


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_dry_runs(study: str, workflow: Workflow, tmp_path: Path) -> None:
    root = photographs(tmp_path / "photographs")
    (root / "dets.json").touch()
    boxes = f"proposals={{boxes_file: {{path: {root}/dets.json}}}}"
    run = workflow.dry("--configfile", f"configs/{study}.yaml", "--config", f"data_root={root}", boxes)
    assert run.status == 0, run.text
    untrained = study in ("blip", "compare", "open_vocabulary")
    trained = set() if untrained else {"train", "evaluate"}
    assert {"data", "ablation", "report"} | trained <= run.jobs.keys()


def test_a_study_lies_over_what_it_extends_and_the_command_line_over_both(
    workflow: Workflow, tmp_path: Path
) -> None:
    root = photographs(tmp_path / "photographs")
    run = workflow.dry(
        *("results/photos/proposals/proposals.parquet", "--printshellcmds"),
        *("--configfile", "configs/photos.yaml"),
        *("--config", f"data_root={root}", "proposals={nms_iou: 0.7}"),
    )
    assert '"phrases_val_share": 0.25' in run.text  # configs/photos.yaml
    assert '"count": 64' in run.text  # configs/photographs.yaml
    assert '"nms_iou": 0.7' in run.text  # the command line
    assert '"input_size": 128' in run.text  # the default


def test_no_study_writes_over_another(workflow: Workflow) -> None:
    """Every file that a stage makes has its study's name in its path."""
    text = workflow.snakemake("--summary", "--config", "dataset=copy").text
    files = [line.split("\t")[0] for line in text.splitlines() if "\t" in line][1:]
    assert "results/copy/report.html" in files
    assert [file for file in files if not file.startswith("results/copy/")] == []


def test_every_variant_is_a_target(workflow: Workflow) -> None:
    run = workflow.dry(*VARIANTS)
    assert run.status == 0, run.text
    seeds = len(StudyConfig().seeds)
    assert run.jobs["train"] == len(VARIANTS) * seeds
    assert all(run.jobs[variant] == 1 for variant in VARIANTS)
    assert "ablation" not in run.jobs


def test_one_seed_of_one_variant_is_a_target(workflow: Workflow) -> None:
    run = workflow.dry("results/scenes/no_cam_encoder/seed7/metrics.parquet")
    once = ("data", "proposals", "features", "train", "predict", "evaluate")
    # the second matcher is the study's first, whose maps the teacher is made of
    assert run.jobs == dict.fromkeys(once, 1) | dict.fromkeys(("matcher", "gradcam"), 2)


@pytest.mark.parametrize(("seeds", "teachers"), [("[0, 1, 5]", [1, 5, 0]), ("[3]", [3])])
def test_the_teacher_is_made_of_the_maps_of_the_next_seed(
    seeds: str, teachers: list[int], workflow: Workflow
) -> None:
    """With one seed, of its own."""
    study = ("--config", f"seeds={seeds}", "variants_to_run=[full]")
    text = workflow.dry("--printshellcmds", *study).text
    cams = "results/scenes/gradcam/seed{}/cams.parquet"
    commands = dict(
        re.findall(r"camground train (.*--output-dir results/scenes/full/seed(\d+)/train .*)$", text, re.M)
    )
    found = {int(seed): command for command, seed in commands.items()}
    assert len(found) == len(teachers)
    for seed, teacher in zip(json.loads(seeds), teachers, strict=True):
        assert f" --cams {cams.format(seed)} --teacher-cams {cams.format(teacher)} " in found[seed]


def test_the_number_of_cores_enters_no_network_that_is_differentiated(workflow: Workflow) -> None:
    """PyTorch's sums of gradients round differently on more threads."""

    def commands(cores: int) -> dict[str, set[str]]:
        target = "results/scenes/full/seed0/predictions.parquet"
        text = workflow.snakemake("--dry-run", "--printshellcmds", "--cores", str(cores), target).text
        found: dict[str, set[str]] = {}
        for stage, command in re.findall(r"camground (\w+) (--config .*)$", text, re.M):
            found.setdefault(stage, set()).add(command)
        return found

    one, eight = commands(1), commands(8)
    for stage in ("matcher", "gradcam", "train", "predict"):
        assert one[stage] == eight[stage]
        assert all("--threads 1 " in command for command in one[stage])
    assert one["features"] != eight["features"]


def test_the_catalog_entry_runs_the_same_jobs(workflow: Workflow) -> None:
    run = workflow.dry("--snakefile", "workflow/Snakefile")
    jobs = dict(run.jobs)
    assert jobs.pop("everything") == 1
    assert jobs == workflow.dry().jobs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "trian=1"], "trian: unknown key; did you mean `train`?"),
        (
            ["--config", "variants={baseline: {grounder: {fusoin: {}}}}"],
            "variants.baseline.grounder.fusoin: unknown key; did you mean `fusion`?",
        ),
        (["--configfile", "configs/photos.yaml"], "--config data_root=DIR"),
        (["--configfile", "configs/photos.yaml", "--config", "data_root=nowhere"], "no folder nowhere"),
        (
            ["--config", "results_dir=/tmp/{x}"],
            "results_dir: braces are wildcards to Snakemake; rename /tmp/{x}",
        ),
    ],
)
def test_a_config_error_stops_before_any_job(arguments: list[str], said: str, workflow: Workflow) -> None:
    run = workflow.snakemake("--cores", "2", *arguments)
    assert run.status != 0
    assert said in run.text
    assert "Traceback" not in run.text
    assert "Job stats" not in run.text
    assert not (workflow.folder / "results").exists()


@pytest.mark.parametrize("way", ["directory", "snakefile"])
def test_it_starts_from_anywhere(
    way: str, workflow: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with a blank and an umlaut: results there, the checkout's studies, photographs at home."""
    there = tmp_path / "my Möwen"
    there.mkdir()
    photographs(tmp_path / "home" / "photos")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    arguments = ["--configfile", str(workflow.folder / "configs" / "photos.yaml")]
    arguments += ["--config", "data_root=~/photos", "dataset=2024", "--printshellcmds"]
    if way == "directory":
        run = workflow.dry("--directory", str(there), *arguments)
    else:
        run = Workflow(there).dry("--snakefile", str(workflow.folder / "Snakefile"), *arguments)
    assert run.status == 0, run.text
    assert {"data", "train", "report"} <= run.jobs.keys()
    assert '"count": 64' in run.text  # what configs/photos.yaml extends
    assert "bfloat16" in run.text  # the checkout's config.yaml
    assert f'"data_root": "{tmp_path / "home" / "photos"}"' in run.text
    assert " results/2024/data/images.parquet" in run.text


def rule_inputs(workflow: Workflow, *arguments: str) -> dict[str, set[str]]:
    """The input files of each rule, as `snakemake --filegraph` draws them."""
    graph = workflow.snakemake("--filegraph", *arguments).text
    found = {}
    for node in graph.split("label=<")[1:]:
        name = re.search(r'point-size="18">(\w+)<', node)
        assert name, node
        inputs = node.partition("&#8618; input")[2].partition("output &rarr;")[0]
        found[name[1]] = {html.unescape(file) for file in re.findall('monospace">([^<]+)<', inputs)}
    return found


def readers_of_targets(inputs: dict[str, set[str]]) -> set[str]:
    return {name for name, files in inputs.items() if any("targets" in file for file in files)}


def test_label_firewall_of_the_rules(workflow: Workflow) -> None:
    """No stage before evaluation has targets among its inputs."""
    inputs = rule_inputs(workflow)
    assert readers_of_targets(inputs) == {"evaluate", "baselines", "report"}
    assert any("expressions" in file for file in inputs["train"])
    # the one protocol that opens it, and only for what evaluated boxes are chosen among
    protocol = rule_inputs(workflow, "--config", "evaluate={proposals: ground_truth}")
    assert readers_of_targets(protocol) == {"evaluate", "baselines", "report", "true_boxes"}
    evaluated = {name for name, files in protocol.items() if any("evaluated" in file for file in files)}
    assert evaluated == {"predict", "evaluate", "baselines", "report"}
    for name in ("proposals", "features", "matcher", "gradcam", "train"):
        assert protocol[name] == inputs[name]


# The smoke study


@pytest.mark.workflow
def test_smoke_is_quick_and_whole(smoke: tuple[Workflow, Run]) -> None:
    workflow, run = smoke
    # under two minutes where nothing else runs
    assert run.seconds < 240
    root = workflow.folder / "results" / "smoke"
    for name in ("ablation.csv", "ablation.md", "ablation.tex", "report.html", "tracking.json"):
        assert (root / name).stat().st_size > 0
    assert (workflow.folder / "results" / "mlflow.db").exists()
    table = tables.read("ablation", root / "ablation.parquet")
    assert {"full", "baseline", "oracle", "random"} <= set(table["variant"])


@pytest.mark.workflow
def test_smoke_shows_progress_and_what_is_left(smoke: tuple[Workflow, Run]) -> None:
    workflow, run = smoke
    assert re.search(r"so far, about \d+ (s|min) left", run.text)
    assert "[train]" in run.text, "the stage's lines do not reach the console"
    logs = workflow.folder / "results" / "smoke" / "logs"
    assert "[train]" in (logs / "train-full-seed0.log").read_text()


@pytest.mark.workflow
def test_second_run_does_nothing_in_seconds(smoke: tuple[Workflow, Run]) -> None:
    run = smoke[0].run(*SMOKE)
    assert run.jobs == {}
    assert run.seconds < 15


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("difference", "jobs"),
    [
        ("losses={contrastive: 0.5}", AFTER_TRAIN),
        (
            "variants={baseline: {train: {optimiser: {epochs: 3}}}}",
            AFTER_TRAIN | {"train": 2, "predict": 2, "evaluate": 2},
        ),
        ("predict={voting: {decay: 0.5}}", {**AFTER_PREDICT, "predict": 4}),
        ("evaluate={multiple_boxes: merged_box}", AFTER_PREDICT),
        ("evaluate={proposals: ground_truth}", {**AFTER_PREDICT, "predict": 4, "true_boxes": 1}),
        ("report={gallery: {failures: 2}}", {"report": 1, "tracking": 1}),
        ("tracking={experiment: another}", {"tracking": 1}),
        ("data={folder: {images: pictures}}", {}),
        ("gradcam={clip: {layer: -2}}", {}),
    ],
)
def test_an_edited_key_reruns_what_depends_on_it(
    difference: str, jobs: dict[str, int], smoke: tuple[Workflow, Run]
) -> None:
    assert smoke[0].dry(*SMOKE, "--config", difference).jobs == jobs


@pytest.mark.workflow
def test_an_edited_module_reruns_what_uses_it(smoke_copy: Callable[[], Workflow]) -> None:
    workflow = smoke_copy()
    source = workflow.folder / "src" / "camground"
    os.utime(source / "study" / "tables.py")  # a new time alone, as after a checkout
    for file in (source / "cli.py", source / "stages" / "command.py", source / "stages" / "config.py"):
        with file.open("a") as text:
            text.write("\n# edited\n")
    assert workflow.dry(*SMOKE).jobs == {}
    with (source / "evaluation" / "ablation.py").open("a") as file:
        file.write("\n# edited\n")
    assert workflow.dry(*SMOKE).jobs == {"ablation": 1, "report": 1, "tracking": 1}
    with (source / "training" / "attention_mining.py").open("a") as file:
        file.write("\n# edited\n")
    assert workflow.dry(*SMOKE).jobs == AFTER_TRAIN


@pytest.mark.workflow
def test_forcing_a_variant_trains_it_again(smoke: tuple[Workflow, Run]) -> None:
    jobs = smoke[0].dry("--forcerun", "baseline", *SMOKE).jobs
    assert jobs == AFTER_TRAIN | {"train": 2, "predict": 2, "evaluate": 2, "baseline": 1}
    assert smoke[0].dry("baseline", *SMOKE).jobs.keys() <= {"baseline"}


@pytest.mark.workflow
def test_metrics_do_depend_on_targets(smoke_copy: Callable[[], Workflow]) -> None:
    """The other side of the firewall, and a rerun of part of a study for real."""
    workflow = smoke_copy()
    root = workflow.folder / "results" / "smoke"
    path, metrics = root / "data" / "targets.parquet", root / "full" / "seed0" / "metrics.parquet"
    targets, before = tables.read("targets", path), tables.read("metrics", metrics)
    targets["boxes_xyxy"] = [[np.array([0, 0, 2, 2], np.float32)] for _ in range(len(targets))]
    tables.write("targets", targets, path)
    run = workflow.run(*SMOKE)
    assert run.jobs["evaluate"] == 4
    assert "train" not in run.jobs
    after = tables.read("metrics", metrics)
    assert not after["value"].equals(before["value"])
    table = tables.read("ablation", root / "ablation.parquet")
    oracle = table[(table["variant"] == "oracle") & (table["metric"] == "acc@0.5")]
    assert (oracle["mean"] < 0.5).all(), "the table has not taken the new metrics in"


@pytest.mark.workflow
def test_snakemake_report(smoke: tuple[Workflow, Run]) -> None:
    workflow, _ = smoke
    run = workflow.snakemake(*SMOKE, "--report", "results/snakemake-report.html")
    assert run.status == 0, run.text
    page = (workflow.folder / "results" / "snakemake-report.html").read_text()
    assert "The report of data set smoke" in page
    assert "ablation table" in page


@pytest.mark.workflow
def test_the_store_has_every_run_once(smoke: tuple[Workflow, Run]) -> None:
    written = json.loads((smoke[0].folder / "results/smoke/tracking.json").read_text())
    trainings = {key for key in written["runs"] if "/train/" in key}
    assert {f"smoke/train/{name}/s{k}" for name in ("full", "baseline") for k in (0, 1)} < trainings
