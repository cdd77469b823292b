"""Every `snakemake` command of the documents for users, as a dry run."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
from pathlib import Path

import pytest

from conftest import Workflow
from documents import REPOSITORY, command_lines
from slurm_cluster import missing

DOCUMENTS = ("README.md", "config/README.md", "docs/how-to.md", "docs/tutorial.md", "docs/datasets.md")


def commands() -> list[str]:
    """Each once; but those with an ellipsis, which are no commands."""
    found = [command_lines(REPOSITORY / name, "snakemake") for name in DOCUMENTS]
    return sorted({shlex.join(words) for lines in found for words in lines if "..." not in words})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has for DIR."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "images").mkdir()
    (folder / "captions.csv").write_text("image,caption\n")
    (folder / "detections.json").touch()
    return folder


@pytest.mark.parametrize("command", commands())
def test_the_command_dry_runs(command: str, workflow: Workflow, folder: Path) -> None:
    for boxes in ("ours.json", "theirs.json"):
        (workflow.folder / boxes).touch()
    words = shlex.split(command.replace("DIR", str(folder)).replace("CHECKOUT", str(workflow.folder)))
    if "conda" in words and not shutil.which("conda"):
        pytest.skip("no conda")
    if "profiles/slurm" in words and (
        missing() or not importlib.util.find_spec("snakemake_executor_plugin_slurm")
    ):
        pytest.skip("no SLURM")
    if not {"--cores", "--workflow-profile"} & set(words):
        words += ["--cores", "2"]
    run = workflow.snakemake("--dry-run", *words)
    assert run.status == 0, run.text
    assert run.jobs
