"""kill -9 at random moments, then the same command: the bytes of an undisturbed run, and nothing left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from camground.tracking.store import find_store, is_whole
from conftest import copy_workflow
from kill_and_resume import differences, leftovers
from stage_processes import TINY, Finished, run_stage


@pytest.mark.workflow
def test_a_stage_that_is_killed_goes_on_with_the_same_command(tiny: Finished, tmp_path: Path) -> None:
    """Every stage is killed once, at a random moment."""
    rng = random.Random(0)
    copy_workflow(tmp_path)
    for stage, arguments in tiny.commands.items():
        moment = rng.uniform(0, tiny.seconds[stage])
        # one that was quicker this time is killed the next
        while run_stage(tmp_path, arguments, moment) != -signal.SIGKILL:
            moment /= 2
        assert run_stage(tmp_path, arguments) == 0, (tmp_path / "run.log").read_text()
    one, other = tiny.results, tmp_path / "results" / "smoke"
    assert differences(one, other) == []
    assert leftovers(tmp_path / "results") == []
    assert is_whole(other / "tracking.json", find_store(tmp_path / "results"))
    runs = [json.loads((each / "tracking.json").read_text())["runs"].keys() for each in (one, other)]
    assert runs[0] == runs[1]


@pytest.mark.workflow
@pytest.mark.parametrize("whole", [True, False], ids=["with_its_jobs", "alone"])
def test_a_snakemake_that_is_killed_goes_on_with_the_same_command(whole: bool, tmp_path: Path) -> None:
    """Without --unlock or --rerun-incomplete, though its jobs may still run."""
    workflow = copy_workflow(tmp_path)
    arguments = ["results/smoke/data/images.parquet", "--cores", "2", *TINY]
    command = [sys.executable, "-m", "snakemake", *arguments]
    data = tmp_path / "results" / "smoke" / "data"
    with subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        while not list(data.glob(".*.part")):
            assert process.poll() is None
            time.sleep(0.05)
        if whole:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    assert list((tmp_path / ".snakemake" / "locks").iterdir())
    assert workflow.snakemake(*arguments).status == 0
    assert (data / "images.parquet").exists()
    assert leftovers(tmp_path / "results") == []
