"""Reading a pickle that may hold plain data alone: nothing in it is imported, called or run.

A pickle is a program. What makes one dangerous is that it may name any function and call it; here every
name is refused, also a harmless-looking one, so there is nothing to call. What is left is what REFER's
files are made of: dict, list, tuple, str, numbers, truth values and None. Python 2 wrote its strings
as bytes; they become `str`, as UTF-8 where they are that, else as Latin-1.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from camground.study.errors import UserError

# Containers nested deeper than this are no table of anything.
DEEPEST = 32
NUMBERS = (int, float, type(None))


class _Forbidden(Exception):
    """The pickle asks for more than plain data."""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every way in which a pickle names something outside itself."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _Forbidden(f"it names {module!r}.{name!r}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Forbidden("it names an object outside the file")


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


class _Plain:
    """Rebuilds what was read from plain types, each container once however often it occurs."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._open: set[int] = set()
        self._texts: dict[bytes, str] = {}

    def of(self, value: Any, depth: int = 0) -> Any:
        kind = type(value)
        if kind is bytes:
            # keys and words come back a million times: one str for each
            if value not in self._texts:
                self._texts[value] = _decoded(value)
            return self._texts[value]
        if kind is str or kind is bool or kind in NUMBERS:
            return value
        if kind not in (dict, list, tuple):
            raise _Forbidden(f"it holds a {kind.__name__}")
        name = id(value)  # `value` lives as long as the whole that was read
        if name in self._made:
            return self._made[name]
        if name in self._open or depth >= DEEPEST:
            raise _Forbidden(f"its containers hold themselves, or are nested over {DEEPEST} deep")
        self._open.add(name)
        if kind is dict:
            made: Any = {
                self.of(key, depth + 1): self.of(item, depth + 1) for key, item in value.items()
            }
        else:
            made = kind(self.of(item, depth + 1) for item in value)
        self._open.remove(name)
        self._made[name] = made
        return made


def load(path: Path) -> Any:
    """The plain data in the pickle `path`, of any protocol, written by Python 2 or 3.

    Raises:
        UserError: no such file; it is truncated or no pickle; it holds or names anything but plain
            data, in which case none of it has run.
    """
    try:
        with path.open("rb") as stream:
            # "bytes": Python 2's str as it stands, decoded by `_Plain` where no error can arise
            read = _PlainUnpickler(stream, encoding="bytes").load()
            if stream.read(1):
                raise UserError(f"{path}: has bytes after its pickle's end; get the file again")
        return _Plain().of(read)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _Forbidden as error:
        raise UserError(
            f"{path}: this pickle is not plain data ({error}); REFER's files are. It may be harmful,"
            " nothing in it was run; delete it and get the file from a source that you trust"
        ) from None
    except UserError:
        raise
    # A damaged pickle raises nearly anything: EOFError, KeyError, IndexError, AttributeError,
    # struct.error, MemoryError ...
    except Exception as error:
        raise UserError(
            f"{path}: truncated, damaged or not a pickle ({type(error).__name__}: {error}); delete it"
            " and get it again"
        ) from None
