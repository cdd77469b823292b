"""The tiny study, which several tests compare their own runs with."""

from __future__ import annotations

import time

import pytest

from conftest import copy_workflow
from stage_processes import Finished, commands, run_stage


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Leave its files as they are."""
    workflow = copy_workflow(tmp_path_factory.mktemp("tiny"))
    stages, seconds, offline = commands(workflow), {}, True
    assert len(stages) >= 12
    for stage, arguments in stages.items():
        began = time.monotonic()
        status = run_stage(workflow.folder, arguments, offline=offline)
        if status == 99:
            offline = False
            status = run_stage(workflow.folder, arguments)
        assert status == 0, (workflow.folder / "run.log").read_text()
        seconds[stage] = time.monotonic() - began
    return Finished(workflow, stages, seconds, offline)
