"""A tiny study, stage by stage: each of its commands as a process that can be killed or cut off."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from camground import cli
from conftest import Workflow

TINY = (
    *("--configfile", "configs/smoke.yaml"),
    *("--config", "seeds=[0]", "variants_to_run=[full]", "data={scenes: {train: 12, val: 4, test: 6}}"),
)
NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER


@dataclass
class Finished:
    """The tiny study, run with two cores: the arguments of `camground` and the seconds of every stage, in
    order; offline: it ran with the network cut off, where the system permits that."""

    workflow: Workflow
    commands: dict[str, list[str]]
    seconds: dict[str, float]
    offline: bool

    @property
    def results(self) -> Path:
        return self.workflow.folder / "results" / "smoke"


def commands(workflow: Workflow, cores: int = 2) -> dict[str, list[str]]:
    """The arguments of `camground` of every job of the tiny study, by stage, in order."""
    text = workflow.snakemake("--dry-run", "--cores", str(cores), "--printshellcmds", *TINY).text
    found = re.findall(r"camground (--?.*?|\w+ --config .*?) 2>&1", text)
    return {words[0]: words for words in map(shlex.split, found)}


def cut_off() -> bool:
    """Give this process a network of its own, which leads nowhere; False where that is not permitted."""
    unshare = ctypes.CDLL(None).unshare
    return unshare(NEW_NETWORK) == 0 or unshare(NEW_NETWORK | NEW_USER) == 0


def _run_stage(folder: Path, arguments: list[str], offline: bool) -> None:
    """The command `camground`, in a session of its own."""
    os.setsid()
    if offline and not cut_off():
        os._exit(99)
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


def run_stage(
    folder: Path, arguments: list[str], kill_after: float | None = None, offline: bool = False
) -> int:
    """Exit status of the stage, which is killed after so many seconds, or not; fails when one of its
    processes is alive half a minute later. 99: it was to be cut off, which is not permitted."""
    process = CONTEXT.Process(target=_run_stage, args=(folder, arguments, offline))
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
