"""kill -9 at random moments, then the same command: the bytes of an undisturbed run, and nothing left."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from camground import cli
from camground.tracking.store import find_store, is_whole
from conftest import Workflow, copy_workflow
from kill_and_resume import differences, leftovers

TINY = (
    *("--configfile", "configs/smoke.yaml"),
    *("--config", "seeds=[0]", "variants_to_run=[full]", "data={scenes: {train: 12, val: 4, test: 6}}"),
)


def commands(workflow: Workflow) -> dict[str, list[str]]:
    """The arguments of `camground` of every job of the tiny study, by stage, in order."""
    text = workflow.dry("--printshellcmds", *TINY).text
    found = re.findall(r"camground (--?.*?|\w+ --config .*?) 2>&1", text)
    return {words[0]: words for words in map(shlex.split, found)}


def _run_stage(folder: Path, arguments: list[str]) -> None:
    """The command `camground`, in a session of its own."""
    os.setsid()
    os.chdir(folder)
    os.dup2(os.open("run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.environ["MLFLOW_TRACKING_URI"] = ""
    try:
        cli.app(arguments, prog_name="camground")
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))  # a usual exit would wait for joblib's workers to be idle for minutes


# A server that has imported what the stages need forks each of them, so that none waits for its imports.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("camground.data.scenes.dataset", "camground.features.cache", "camground.training.matcher"),
        *("camground.matcher.gradcam", "camground.training.grounder", "camground.grounder.predict"),
        *("camground.evaluation.ablation", "camground.evaluation.baselines", "camground.report.page"),
        *("camground.proposals.selective_search", "camground.tracking.ingest", "mlflow"),
    ]
)


def run_stage(folder: Path, arguments: list[str], kill_after: float | None = None) -> int:
    """Exit status of the stage, which is killed after so many seconds, or not; fails when one of its
    processes is alive half a minute later."""
    process = CONTEXT.Process(target=_run_stage, args=(folder, arguments))
    process.start()
    process.join(kill_after)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.pid is not None
    deadline = time.monotonic() + 30
    while alive := members(process.pid):
        assert time.monotonic() < deadline, [one.cmdline() for one in alive]
        time.sleep(0.1)
    assert process.exitcode is not None
    return process.exitcode


def members(session: int) -> list[psutil.Process]:
    """The processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.workflow
def test_a_stage_that_is_killed_goes_on_with_the_same_command(tmp_path: Path) -> None:
    """Every stage is killed once, at a random moment."""
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    undisturbed = copy_workflow(tmp_path / "undisturbed")
    stages = commands(undisturbed)
    assert len(stages) >= 12
    folder, rng = tmp_path / "killed", random.Random(0)
    struck = 0
    for arguments in stages.values():
        began = time.monotonic()
        assert run_stage(undisturbed.folder, arguments) == 0
        moment = rng.uniform(0, time.monotonic() - began)
        struck += run_stage(folder, arguments, moment) == -signal.SIGKILL
        assert run_stage(folder, arguments) == 0, (folder / "run.log").read_text()
    assert struck >= 10
    one, other = (each / "results" / "smoke" for each in (undisturbed.folder, folder))
    assert differences(one, other) == []
    assert leftovers(folder / "results") == []
    assert is_whole(other / "tracking.json", find_store(folder / "results"))
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
