"""The reader of plain pickles: what Python 2 and 3 write is read, what could run anything is not."""

from __future__ import annotations

import codecs
import copyreg
import os
import pickle
import pickletools
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark_files import python2_pickle
from camground.data.readers.plain_pickle import load_plain_pickle
from camground.study.errors import UserError

VALUE = [{"ref_id": 3, "ann_id": "8756_2", "sent": ["café", "a"], "x": -1.5, "n": None, "t": True}]


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_python_3(protocol: int, tmp_path: Path) -> None:
    path = written(tmp_path / "refs(unc).p", pickle.dumps(VALUE, protocol))
    assert load_plain_pickle(path) == VALUE


def test_python_2_strings_become_text(tmp_path: Path) -> None:
    utf8 = "caf\u00e9".encode()
    value = [{"raw": utf8, "latin": b"caf\xe9", "wide": "\u2019s", "big": 2**40, "key": {"a": False}}]
    raw = python2_pickle(value)
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(raw)}
    assert "SHORT_BINSTRING" in opcodes, "not what Python 2 writes"
    assert load_plain_pickle(written(tmp_path / "a.p", raw)) == [
        {"raw": "caf\u00e9", "latin": "caf\u00e9", "wide": "\u2019s", "big": 2**40, "key": {"a": False}}
    ]


def test_python_2_text_protocol(tmp_path: Path) -> None:
    raw = b"(lp0\n(dp1\nS'ref_id'\np2\nI7\nsS'split'\np3\nS'testA'\np4\nsS'ok'\nI01\nsa."
    found = load_plain_pickle(written(tmp_path / "a.p", raw))
    assert found == [{"ref_id": 7, "split": "testA", "ok": True}]
    assert found[0]["ok"] is True


class Call:
    """Pickles to a call of `function`, as an attacker's object does."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, subprocess.getoutput, eval])
def test_a_call_is_refused_and_not_run(function: Any, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    command = f"open({str(mark)!r}, 'w')" if function is eval else f"touch '{mark}'"
    raw = pickle.dumps([{"ref_id": Call(function, command)}], protocol)
    pickle.loads(raw)
    assert mark.exists(), "the pickle does not do what it is made for"
    mark.unlink()
    with pytest.raises(UserError, match="not plain data") as caught:
        load_plain_pickle(written(tmp_path / "refs(unc).p", raw))
    assert "refs(unc).p" in str(caught.value)
    assert not mark.exists()


def test_a_disguised_name_is_refused(tmp_path: Path) -> None:
    """builtins, collections and codecs look harmless and lead everywhere."""
    mark = tmp_path / "ran"
    dotted = b"\x80\x04\x8c\x0bcollections\x8c\x13abc.sys.modules.get\x93\x8c\x02os\x85R."  # os, by a path
    reached = (
        b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR"
        b"(S'touch %s'\ntR." % str(mark).encode()
    )
    for raw in (
        dotted,
        reached,
        b"(S'x'\ni__builtin__\neval\n.",  # the opcode INST, which names a class as well
        pickle.dumps(OrderedDict(a=1)),
        pickle.dumps({1, 2}, 2),
        pickle.dumps(range(3)),
        b"Pother object\n.",  # an object outside the file
    ):
        with pytest.raises(UserError, match="not plain data"):
            load_plain_pickle(written(tmp_path / "a.p", raw))
    assert not mark.exists()


def test_a_registered_extension_is_refused(tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 77)
    try:
        with pytest.raises(UserError, match="not plain data"):
            load_plain_pickle(written(tmp_path / "a.p", b"\x80\x02\x82\x4d."))
    finally:
        copyreg.remove_extension("os", "system", 77)


def test_other_plain_looking_types_are_refused(tmp_path: Path) -> None:
    for value in ({1}, bytearray(b"a")):
        with pytest.raises(UserError, match="not plain data"):
            load_plain_pickle(written(tmp_path / "a.p", pickle.dumps(value, 5)))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_told(share: float, tmp_path: Path) -> None:
    raw = python2_pickle(VALUE * 20)
    path = written(tmp_path / "refs(unc).p", raw[: int(len(raw) * share)])
    with pytest.raises(UserError, match=r"refs\(unc\)\.p: truncated, damaged or not a pickle"):
        load_plain_pickle(path)


def test_other_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_plain_pickle(tmp_path / "none.p")
    for raw in (b"<html>404 Not Found</html>", b"PK\x03\x04zip", b"\x80\x63."):
        with pytest.raises(UserError, match="not a pickle"):
            load_plain_pickle(written(tmp_path / "a.p", raw))
    with pytest.raises(UserError, match="after its pickle's end"):
        load_plain_pickle(written(tmp_path / "a.p", python2_pickle([1]) + b"more"))


def test_cycles_and_bombs_end(tmp_path: Path) -> None:
    cycle: list = []
    cycle.append(cycle)
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(UserError, match="hold themselves, or are nested"):
            load_plain_pickle(written(tmp_path / "a.p", pickle.dumps(value)))
    # 2 ** 30 leaves if every mention of a list were made anew
    wide: Any = ["leaf"]
    for _ in range(30):
        wide = [wide, wide]
    found = load_plain_pickle(written(tmp_path / "a.p", pickle.dumps(wide)))
    assert found[0] is found[1]


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\xff", b"p9999999999\n", b"(S'a'\nI1\ntr\x00\x00\x00\x10"])
def test_a_number_in_the_memo_takes_no_memory(put: bytes, tmp_path: Path) -> None:
    """The unpickler makes room for all numbers below it, up to 64 GB for ten bytes."""
    with pytest.raises(UserError, match=r"not plain data \(it numbers a value"):
        load_plain_pickle(written(tmp_path / "a.p", b"\x80\x02]" + put + b"."))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_become_pythons(protocol: int, tmp_path: Path) -> None:
    value = [np.int64(2**40), np.int32(-3), np.uint8(200), np.float64(0.5), np.bool_(True)]
    found = load_plain_pickle(written(tmp_path / "a.p", pickle.dumps(value, protocol)))
    assert found == [2**40, -3, 200, 0.5, True]
    assert [type(each) for each in found] == [int, int, int, float, bool]


@pytest.mark.parametrize("value", [np.zeros(3), np.array(["a"]), np.datetime64("2026-01-01"), np.dtype("O")])
def test_other_objects_of_numpy_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not plain data"):
        load_plain_pickle(written(tmp_path / "a.p", pickle.dumps([value])))


def test_an_encoder_other_than_latin1_is_refused(tmp_path: Path) -> None:
    raw = pickle.dumps([Call(codecs.encode, "a", "rot13")], 2)
    with pytest.raises(UserError, match="not plain data"):
        load_plain_pickle(written(tmp_path / "a.p", raw))
