"""Fixtures that several test files share: the checkout, a copy of it to run in, the smoke study."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from file_server import Server

# a machine that does other work too is no fault of the code's
hypothesis.settings.register_profile("camground", deadline=None)
hypothesis.settings.load_profile("camground")

REPOSITORY = Path(__file__).resolve().parents[1]
# What reads the finished study of a session's fixture.
READERS = {
    "smoke": ("test_pipeline", "test_serving", "test_slurm", "test_workflow"),
    "tiny": ("test_kills", "test_same_bytes"),
}
PARTS = ("Snakefile", "config.yaml", "configs", "envs", "profiles", "rules", "src", "workflow")


def processor_seconds() -> float:
    """Of all finished child processes; unlike the clock, it does not run for other people's work."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass
class Run:
    """What a `snakemake` call gave: exit status, all it printed, seconds of the processors."""

    status: int
    text: str
    seconds: float

    @property
    def jobs(self) -> dict[str, int]:
        """Jobs by rule, without the targets that only gather files; empty: nothing to be done."""
        found = re.search(r"^job +count\n[- ]+\n(.*?)^total +\d+$", self.text, re.M | re.S)
        if not found:
            assert "Nothing to be done" in self.text, self.text
            return {}
        rows = dict(line.split() for line in found[1].splitlines())
        return {name: int(count) for name, count in rows.items() if name != "all"}


@dataclass
class Workflow:
    """A copy of the workflow in its own folder, so that a test may edit it."""

    folder: Path

    def snakemake(self, *arguments: str) -> Run:
        """Run the real `snakemake` with these arguments in the folder."""
        start = processor_seconds()
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env={**os.environ, "MLFLOW_TRACKING_URI": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,  # far more than it takes, whatever else the machine does
        )
        return Run(done.returncode, done.stdout, processor_seconds() - start)

    def dry(self, *arguments: str) -> Run:
        """What would run, without running it."""
        return self.snakemake("--dry-run", "--cores", "2", *arguments)

    def run(self, *arguments: str) -> Run:
        """Run with two cores; the test fails unless it succeeds."""
        done = self.snakemake("--cores", "2", *arguments)
        assert done.status == 0, done.text
        return done


def copy_workflow(folder: Path) -> Workflow:
    """The checkout's workflow, copied with its times into `folder`."""
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy2(source, folder / part)
    return Workflow(folder)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A copy that has run nothing: for dry runs alone."""
    return copy_workflow(tmp_path_factory.mktemp("workflow"))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, Run]:
    """A copy in which configs/smoke.yaml has run, and that run. Leave its files as they are."""
    made = copy_workflow(tmp_path_factory.mktemp("smoke"))
    return made, made.run("--configfile", "configs/smoke.yaml")


@pytest.hookimpl(optionalhook=True)  # of a plugin that need not be there
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`, files that read one finished study go to one process, which makes it once; of
    all others each test goes by itself."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByStudy(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            stem = Path(nodeid.partition("::")[0]).stem
            return next((study for study, files in READERS.items() if stem in files), nodeid)

    return ByStudy(config, log)


@pytest.fixture(autouse=True)
def no_store_of_another_test() -> Iterator[None]:
    """MLflow keeps the address of its last store in the environment, where it wins over a study's own."""
    yield
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


@pytest.fixture
def server() -> Iterator[Server]:
    """A file server on loopback."""
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def smoke_copy(smoke: tuple[Workflow, Run], tmp_path: Path) -> Callable[[], Workflow]:
    """Makes a copy of the finished smoke study, times and records too, for a test that edits it."""

    def make() -> Workflow:
        return Workflow(shutil.copytree(smoke[0].folder, tmp_path / "copy"))

    return make
