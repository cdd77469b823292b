"""Writing files: whole or not at all, whatever ends the process, and a full disk is said in one line."""

from __future__ import annotations

import errno
import gc
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from camground.features import cache
from camground.stages.command import OutputFile, to_command
from camground.study import tables
from camground.study.checkpoints import save_checkpoint
from camground.study.errors import UserError, storage_error
from camground.study.schemas import SCHEMAS

# Writes half a file, says so, and waits.
WRITER = """
import sys, time
from camground.study import tables
with tables.atomic(sys.argv[1]) as path:
    path.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
    path.write_text("whole")
"""


def start_writer(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with start_writer(path) as process:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == [".table.part"]
    with tables.atomic(path) as temporary:
        assert temporary.read_text() == ""
        temporary.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["table"]
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_two_processes_write_a_file_one_after_the_other(tmp_path: Path) -> None:
    """As a job that outlived its Snakemake and the same job of the next."""
    path = tmp_path / "table"
    with start_writer(path) as first:
        second = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        time.sleep(3)
        assert second.poll() is None
        assert not path.exists()
        first.communicate("")
        assert first.returncode == second.wait(60) == 0
        assert second.stderr is not None
        second.stderr.close()
    assert path.read_text() == "whole"
    assert [file.name for file in tmp_path.iterdir()] == ["table"]


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "No space left on device; make room"), (errno.EROFS, "Read-only file")],
)
def test_a_file_that_cannot_be_written_is_said_in_one_line(number: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"table: {said}"), tables.atomic(tmp_path / "table"):
        raise OSError(number, "from the system")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_below_a_database_is_said_too() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    assert str(storage_error(error, "mlflow.db")).startswith("mlflow.db: No space left on device; make room")
    assert storage_error(sqlite3.OperationalError("database is locked")) is None


def test_any_other_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), tables.atomic(tmp_path / "table"):
        (tmp_path / "nowhere").read_text()
    with pytest.raises(ZeroDivisionError), tables.atomic(tmp_path / "table"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_command_ends_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    def command(output: OutputFile) -> None:
        raise OSError(errno.EACCES, "from the system", str(output))

    with pytest.raises(SystemExit, match="1"):
        to_command("write", command).main(["--output", "results/x"])
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "[write] error: results/x: Permission denied; give the right to it, then run the same" in said


# What fills a disk of 1 MB, each by the writer that it has in a study.
BIG = torch.zeros(500, 1000)


def checkpoint(folder: Path) -> None:
    save_checkpoint(folder, {"weight": BIG}, {})


def resume(folder: Path) -> None:
    with tables.atomic(folder / "resume.pt") as path, path.open("wb") as file:
        torch.save({"weight": BIG}, file)


def table(folder: Path) -> None:
    rows = [
        {"step": step, "epoch": step / 7, "name": str(value), "value": value}
        for step, value in enumerate(np.random.default_rng(0).normal(size=100_000).tolist())
    ]
    tables.write("history", rows, folder / "history.parquet")


def rows(folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 10_000))
    with tables.writer("history", folder / "history.parquet") as write:
        for part in values.tolist():
            write([{"step": 1, "epoch": value, "name": "x", "value": value} for value in part])


def features(folder: Path) -> None:
    with cache._new_array(folder / "visual.npy", (1000, 1000)) as array:
        array[:] = 1


def page(folder: Path) -> None:
    with tables.atomic(folder / "report.html") as path:
        path.write_text("x" * 2_000_000, encoding="utf-8")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 1 MB; skips without the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    return folder


@pytest.mark.parametrize("write", [checkpoint, resume, table, rows, features, page])
def test_a_full_disk_leaves_no_half_file_and_the_next_try_goes_on(
    write: Callable[[Path], None], small_disk: Path
) -> None:
    try:
        with pytest.raises(UserError, match=r"disk/\S+: No space left on device; make room"):
            write(small_disk)
        assert list(small_disk.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        write(small_disk)
        written = {file.name for file in small_disk.iterdir()}
        assert written
        assert not any(name.startswith(".") for name in written)
        gc.collect()  # an error's frames may hold a map of the file, and the disk would be busy
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(UserError, match=r"disk/\S+: Read-only file system; give the right"):
            write(small_disk)
        assert {file.name for file in small_disk.iterdir()} == written
    finally:
        subprocess.run(["umount", "--lazy", str(small_disk)], check=True)


VALUES = {
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    pa.bool_(): st.booleans(),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.binary(): st.binary(max_size=12),
}


def value_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_fixed_size_list(kind):
        return st.lists(value_of(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    return st.lists(value_of(kind.value_type), max_size=3) if pa.types.is_list(kind) else VALUES[kind]


def row_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    columns = {
        field.name: st.none() | value_of(field.type) if field.nullable else value_of(field.type)
        for field in SCHEMAS[name]
    }
    return st.fixed_dictionaries(columns)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_rows_are_read_back_as_they_were(name: str, data: st.DataObject, tmp_path: Path) -> None:
    rows = data.draw(st.lists(row_of(name), max_size=4))
    path = tmp_path / f"{name}.parquet"
    tables.write(name, rows, path)
    assert tables.read_arrow(name, path).to_pylist() == rows
    assert sum(len(part) for part in tables.batches(name, path, size=2)) == len(rows)
    if rows:
        required = [field.name for field in SCHEMAS[name] if not field.nullable]
        lost = data.draw(st.sampled_from(required))
        with pytest.raises(UserError, match=rf"table {name}, column {lost}: 1 null values"):
            tables.to_arrow(name, [*rows[1:], {**rows[0], lost: None}])
        with pytest.raises(UserError, match=rf"missing columns \['{lost}'\]"):
            tables.to_arrow(name, [{key: row[key] for key in row if key != lost} for row in rows])
