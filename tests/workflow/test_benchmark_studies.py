"""The benchmarks' studies: their jobs on fixtures of the original files, and their splits throughout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from benchmark_files import small_flickr30k, small_refer
from camground.data.download.sources import read_sources
from camground.stages.config import StudyConfig
from camground.study.layers import merge, merged_files, read_yaml
from camground.study.schemas import present
from conftest import REPOSITORY, Workflow

TABLES = ("images", "expressions", "targets", "rejected")
REFER = {
    "refcoco": ("refcoco", "unc"),
    "refcoco+": ("refcoco+", "unc"),
    "refcocog": ("refcocog", "umd"),
    "referit": ("refclef", "berkeley"),
}


@pytest.mark.workflow
@pytest.mark.parametrize("name", [*REFER, "flickr30k"])
def test_jobs_of_a_benchmark(name: str, workflow: Workflow, tmp_path: Path) -> None:
    """From its own files, which the data job reads, to the table and the report."""
    if name in REFER:
        made = small_refer(tmp_path, *REFER[name]).write()
        read = [made.refs_file, made.instances_file]
    else:
        folder = small_flickr30k(tmp_path)
        read = [folder / f"{split}.txt" for split in ("train", "val", "test")]
    where = ("--configfile", f"configs/{name}.yaml", "--config", f"data_root={tmp_path}")
    sources = read_sources()
    for source in sources.needed(REFER.get(name, (name,))[0]):
        receipt = tmp_path / "downloads" / f"{source}.json"
        receipt.parent.mkdir(exist_ok=True)
        receipt.write_text("{}")
    run = workflow.dry(*where)
    assert run.status == 0, run.text
    assert {"data", "train", "evaluate", "ablation", "report", "tracking"} <= run.jobs.keys()
    assert "download" not in run.jobs
    assert ("leakage" in run.jobs) == (name in REFER)
    # Tables older than what they are made of: the reason names the files that are read.
    tables = [tmp_path / name / "data" / f"{table}.parquet" for table in TABLES]
    tables[0].parent.mkdir(parents=True)
    for path in tables:
        path.touch()
        os.utime(path, (1, 1))
    again = workflow.dry(str(tables[0]), "--quiet", "progress", *where, f"results_dir={tmp_path}")
    reason = next(line for line in again.text.splitlines() if "Updated input files" in line)
    assert all(str(path) in reason for path in read), again.text


@pytest.mark.parametrize("name", [*REFER, "flickr30k"])
def test_a_benchmark_is_read_as_published(name: str) -> None:
    study = StudyConfig.load(f"configs/{name}.yaml")
    assert study.dataset == name
    assert study.ablation.split.startswith("test")
    if name in REFER:
        refer = study.data.refer
        assert (refer.dataset, refer.split_by) == REFER[name]
        assert refer.check_counts
        assert not refer.allow_leakage


def test_the_google_split_that_a_config_names_is_valid() -> None:
    """The override in the comment of configs/refcocog.yaml, as the command line gives it."""
    lines = (REPOSITORY / "configs" / "refcocog.yaml").read_text().splitlines()
    differences = [
        yaml.safe_load(part.replace("=", ": ", 1).replace("={", ": {"))
        for line in lines
        if line.startswith("#         '")
        for part in line.lstrip("# ").strip("'").split("' '")
    ]
    config = merged_files(read_yaml("config.yaml"), "configs/refcocog.yaml")
    for difference in differences:
        config = merge(config, difference)
    study = StudyConfig.parse(config)
    assert study.data.refer.split_by == "google"
    assert study.data.refer.allow_leakage
    assert study.evaluate.splits == ("val",)
    assert study.ablation.split == "val"


def test_splits_in_their_order() -> None:
    assert present(["testB", "val", "testA", "train", "val"]) == ["train", "val", "testA", "testB"]
