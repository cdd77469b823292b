"""The workflow as a module of another: of a checkout, and of a repository that only `github(...)` reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from camground.study import tables
from conftest import Workflow

CONFIG = """
camground:
  extends: configs/smoke.yaml
  dataset: "another"
  seeds: [4]
"""
SNAKEFILE = """
configfile: "study.yaml"


module camground:
    snakefile: {snakefile}
    config: config["camground"]


use rule * from camground as camground_*


rule table:
    default_target: True
    input: rules.camground_ablation.output.csv
    output: "table.csv"
    shell: "cp {{input:q}} {{output:q}}"
"""


def other_workflow(folder: Path, snakefile: str) -> Workflow:
    """One that takes the table of a study, below a folder with a blank in its name."""
    other = folder / "an other"
    other.mkdir()
    (other / "study.yaml").write_text(CONFIG)
    (other / "Snakefile").write_text(SNAKEFILE.format(snakefile=snakefile))
    return Workflow(other)


def test_a_module_is_a_study_of_the_other_workflow(workflow: Workflow, tmp_path: Path) -> None:
    run = other_workflow(tmp_path, f'"{workflow.folder}/workflow/Snakefile"').dry("--printshellcmds")
    assert run.status == 0, run.text
    jobs = {name.removeprefix("camground_"): count for name, count in run.jobs.items() if name != "table"}
    once = ("data", "proposals", "features", "matcher", "gradcam", "baselines", "ablation")
    twice = ("train", "predict", "evaluate")  # variants
    assert jobs == dict.fromkeys(once, 1) | dict.fromkeys(twice, 2)
    assert '"train": 24' in run.text  # what configs/smoke.yaml says
    assert "--csv results/another/ablation.csv" in run.text


@pytest.mark.workflow
def test_a_stage_of_a_module_runs(workflow: Workflow, tmp_path: Path) -> None:
    other = other_workflow(tmp_path, f'"{workflow.folder}/workflow/Snakefile"')
    other.run("results/another/data/images.parquet")
    assert len(tables.read("images", other.folder / "results/another/data/images.parquet")) == 24 + 8 + 12


def test_a_module_of_a_tag_on_a_forge(
    workflow: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`github(...)`, where git clones from a folder: rules without a checkout run the installed package."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    git += [f"--git-dir={tmp_path}/forge", f"--work-tree={workflow.folder}"]
    parts = ("Snakefile", "config.yaml", "rules", "workflow", "envs")
    for command in (["init", "-q"], ["add", *parts], ["commit", "-qm", "all"], ["tag", "v9.9"]):
        subprocess.run([*git, *command], check=True, cwd=workflow.folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{tmp_path}/forge.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/camground/camground")
    source = 'github("camground/camground", path="workflow/Snakefile", tag="v9.9")'
    run = other_workflow(tmp_path, source).dry()
    assert run.status == 0, run.text
    assert run.jobs["camground_train"] == 2
