"""The planted faults fit the code of today; `python tests/planted_faults.py` says whether they are caught."""

from __future__ import annotations

import ast

import pytest

from planted_faults import FAULTS, REPOSITORY, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted_and_its_tests_exist(fault: Fault) -> None:
    planted = fault.planted(REPOSITORY)
    if fault.path.endswith(".py"):
        ast.parse(planted)
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        body = ast.parse((REPOSITORY / file).read_text(encoding="utf-8")).body
        assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}, test


def test_a_fault_that_no_longer_fits_is_refused() -> None:
    fault = Fault("gone", "data/boxes.py", "no such text", "", ("tests/test_planted_faults.py::none",))
    with pytest.raises(SystemExit, match=r"gone: src/camground/data/boxes\.py holds 0 times"):
        fault.planted(REPOSITORY)


def test_names_tell_faults_apart() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 12
