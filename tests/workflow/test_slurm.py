"""The smoke study through SLURM, where it is installed: slurm-wlm, munge, and Snakemake's plugin."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Run, Workflow, copy_workflow
from slurm_cluster import SETTINGS, NoCluster, cluster, missing

# before any fixture, of which the local run takes minutes
pytest.importorskip("snakemake_executor_plugin_slurm", reason="no snakemake-executor-plugin-slurm")
pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands reach a cluster of one node."""
    try:
        with cluster(tmp_path_factory.mktemp("slurm")) as environment:
            yield environment
    except NoCluster as error:
        pytest.skip(f"no SLURM: {error}")


def digests(folder: Path) -> dict[str, str]:
    """The bytes of a study's tables but for those that hold times."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in [*folder.rglob("*.parquet"), *folder.glob("ablation.*")]
        if file.name != "history.parquet"
    }


@pytest.mark.workflow
def test_a_cluster_makes_the_same_tables(
    slurm: dict[str, str], smoke: tuple[Workflow, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in slurm.keys() - os.environ.keys() | {"PATH"}:
        monkeypatch.setenv(name, slurm[name])
    workflow = copy_workflow(tmp_path)
    run = workflow.snakemake(
        *("--workflow-profile", "profiles/slurm", "--configfile", "configs/smoke.yaml"), *SETTINGS
    )
    assert run.status == 0, run.text
    assert run.text.count("submitted with SLURM jobid") == sum(run.jobs.values()) > 20
    local = digests(smoke[0].folder / "results" / "smoke")
    assert digests(tmp_path / "results" / "smoke") == local
    assert "ablation.csv" in local
