"""Reading a pickle that may hold plain data alone: nothing in it is imported, called or run.

A pickle is a program. What makes one dangerous is that it may name any function and call it; here every
name is refused, even a harmless-looking one, so there is nothing to call. What is left is what REFER's
files are made of: dict, list, tuple, str, numbers, truth values and None. Numbers of NumPy, which pandas
writes, become Python's: the three names that they need stand for functions of this module. Python 2 wrote its
strings as bytes; they become `str`: what is no UTF-8 in them is read as Latin-1.
"""

from __future__ import annotations

import codecs
import io
import pickle
import pickletools
import re
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from camground.study.errors import UserError

# Containers nested deeper than this are no table of anything.
DEEPEST = 32
ATOMS = (str, bool, int, float, type(None))


class _NotPlain(Exception):
    """The pickle asks for more than plain data."""


class _Type:
    """Stands for numpy.dtype: the type of a number, such as i8."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not re.fullmatch(r"[iuf][1248]|b1", str(code)):
            raise _NotPlain(f"it holds a NumPy type {code!r}")
        self.code = f"<{code}"

    def __setstate__(self, state: Any) -> None:
        self.code = {">": ">"}.get(state[1], "<") + self.code[1:]


def _number(kind: Any, raw: Any) -> Any:
    """Stands for numpy's scalar: the number, as Python has it."""
    if not isinstance(kind, _Type) or not isinstance(raw, bytes):
        raise _NotPlain("it holds a NumPy object that is no number")
    return np.frombuffer(raw, kind.code)[0].item()


def _raw(text: Any, encoding: Any) -> bytes:
    """Stands for _codecs.encode, as which old protocols write bytes."""
    if encoding != "latin1" or not isinstance(text, str):
        raise _NotPlain("it encodes a text")
    return text.encode("latin1")


STANDING_FOR = {
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
    ("_codecs", "encode"): _raw,
}


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every way in which a pickle names something outside itself, but for NumPy's numbers."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return STANDING_FOR[module, name]
        except KeyError:
            pass
        if module.partition(".")[0] in ("numpy", "pandas"):
            raise _NotPlain(f"it holds {module}.{name}: write it with Python's own lists, dicts and numbers")
        raise _NotPlain(f"it names {module!r}.{name!r}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _NotPlain("it names an object outside the file")


# Bytes that follow each opcode; below 0: a line, or so many as the first 1, 4 or 8 of them say.
_SIZES = {op.code.encode("latin-1"): op.arg.n if op.arg else 0 for op in pickletools.opcodes}
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_STOP, _PUT_LINE, _PUT_FOUR, _TWO_LINES = b".", b"p", b"r", (b"c", b"i")
_FIXED = re.compile(
    b"(?:%s)*+"
    % b"|".join(
        re.escape(code) + b".{%d}" % size
        for code, size in _SIZES.items()
        if size >= 0 and code not in (_STOP, _PUT_FOUR)
    ),
    re.DOTALL,
)


def _check_memo(content: bytes) -> None:
    """`_NotPlain` for a value whose number in the memo is beyond the file's length: the unpickler makes room
    for all numbers below it, so that ten bytes could fill the memory."""
    at = 0
    while True:
        match = _FIXED.match(content, at)
        at = match.end() if match else at
        code = content[at : at + 1]
        if code in (b"", _STOP) or code not in _SIZES:
            return
        start, size = at + 1, _SIZES[code]
        if code == _PUT_FOUR:
            at, number = start + 4, content[start : start + 4]
            taken = int.from_bytes(number, "little")
        elif size == pickletools.UP_TO_NEWLINE:
            at = content.find(b"\n", start) + 1 or len(content)
            line = content[start:at].strip()
            taken = int(line) if code == _PUT_LINE and line.isdigit() else 0
            if code in _TWO_LINES:
                at = content.find(b"\n", at) + 1 or len(content)
        else:
            width = _LENGTHS[size]
            at = start + width + int.from_bytes(content[start : start + width], "little")
            taken = 0
        if taken > len(content):
            raise _NotPlain(f"it numbers a value {taken}, and has {len(content)} bytes")


def _check(value: Any, above: tuple[int, ...], checked: set[int]) -> None:
    """`_NotPlain` for anything but plain data. above: ids of the containers around `value`; checked: of
    those that need no second look, however often they occur."""
    if type(value) in ATOMS or id(value) in checked:
        return
    if type(value) not in (dict, list, tuple):
        raise _NotPlain(f"it holds a {type(value).__name__}")
    if id(value) in above or len(above) >= DEEPEST:
        raise _NotPlain(f"its containers hold themselves, or are nested over {DEEPEST} deep")
    for item in chain.from_iterable(value.items()) if isinstance(value, dict) else value:
        _check(item, (*above, id(value)), checked)
    checked.add(id(value))


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("camground.latin-1", _as_latin1)


def load_plain_pickle(path: Path) -> Any:
    """The plain data in the pickle `path`, of any protocol, written by Python 2 or 3. Raises `UserError`: no
    such file; it is truncated or no pickle; it holds or names anything but plain data, in which case none of
    it has run. Numbers of NumPy become Python's."""
    try:
        whole = path.read_bytes()
        _check_memo(whole)
        stream = io.BytesIO(whole)
        content = _PlainUnpickler(stream, encoding="utf-8", errors="camground.latin-1").load()
        surplus = stream.read(1)
        _check(content, (), set())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _NotPlain as error:
        raise UserError(
            f"{path}: this pickle is not plain data ({error}); REFER's files are. It may be harmful,"
            " nothing in it was run; delete it and get the file from a source that you trust"
        ) from None
    # A damaged pickle raises nearly anything: EOFError, KeyError, IndexError, AttributeError,
    # struct.error, MemoryError ...
    except Exception as error:
        raise UserError(
            f"{path}: truncated, damaged or not a pickle ({type(error).__name__}: {error}); delete it"
            " and get it again"
        ) from None
    if surplus:
        raise UserError(f"{path}: has bytes after its pickle's end; get the file again")
    return content
