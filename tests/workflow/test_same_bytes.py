"""The same bytes, whatever is not to matter: labels before evaluation, the number of cores, the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from camground.study import tables
from conftest import copy_workflow
from kill_and_resume import differences
from stage_processes import Finished, commands, run_stage

# In their order; the first that reads targets is `evaluate`.
BEFORE_EVALUATION = ("proposals", "features", "matcher", "gradcam", "train", "predict")


def shuffle(targets: Path) -> None:
    """Each expression gets the boxes of another."""
    rows = tables.read("targets", targets)
    columns = [name for name in rows if name != "expression_id"]
    rows[columns] = rows[columns].iloc[::-1].to_numpy()
    tables.write("targets", rows, targets)


def tear(targets: Path) -> None:
    targets.write_bytes(targets.read_bytes()[:200])


@pytest.mark.workflow
@pytest.mark.parametrize("spoil", [shuffle, tear, Path.unlink], ids=["shuffled", "torn", "gone"])
def test_no_stage_before_evaluation_depends_on_targets(spoil, tiny: Finished, tmp_path: Path) -> None:
    copy_workflow(tmp_path)
    results = tmp_path / "results" / "smoke"
    shutil.copytree(tiny.results / "data", results / "data")
    targets = results / "data" / "targets.parquet"
    spoil(targets)
    for stage in BEFORE_EVALUATION:
        assert run_stage(tmp_path, tiny.commands[stage]) == 0, (tmp_path / "run.log").read_text()
    targets.unlink(missing_ok=True)
    made = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    assert {"proposals/proposals.parquet", "features/visual.npy", "features/tokens.npy"} <= made
    assert {"matcher/seed0/checkpoint.safetensors", "gradcam/seed0/cams.parquet"} <= made
    assert {f"full/seed0/{name}" for name in ("train/checkpoint.safetensors", "predictions.parquet")} <= made
    assert made.isdisjoint(differences(tiny.results, results))


@pytest.mark.workflow
def test_the_number_of_cores_changes_no_byte(tiny: Finished, tmp_path: Path) -> None:
    """Of any file of the study, from scenes to report: two cores in `tiny`, one here."""
    alone = commands(copy_workflow(tmp_path), cores=1)
    assert alone["features"] != tiny.commands["features"]
    for stage, arguments in alone.items():
        assert run_stage(tmp_path, arguments) == 0, (stage, (tmp_path / "run.log").read_text())
    assert differences(tiny.results, tmp_path / "results" / "smoke") == []


@pytest.mark.workflow
def test_a_study_on_scenes_needs_no_network(tiny: Finished) -> None:
    if not tiny.offline:
        pytest.skip("a process may not have a network of its own here (unshare)")
    assert tiny.commands.keys() == tiny.seconds.keys()
    assert (tiny.results / "tracking.json").exists()
