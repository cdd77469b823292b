"""Reading a pickle that may hold plain data alone: nothing in it is imported, called or run.

A pickle is a program. What makes one dangerous is that it may name any function and call it; here every
name is refused, even a harmless-looking one, so there is nothing to call. What is left is what REFER's
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
ATOMS = (str, bool, int, float, type(None))


class _NotPlain(Exception):
    """The pickle asks for more than plain data."""


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every way in which a pickle names something outside itself."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _NotPlain(f"it names {module!r}.{name!r}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _NotPlain("it names an object outside the file")


class _PlainCopy:
    """Rebuilds an object from plain types, each container once however often it occurs."""

    def __init__(self) -> None:
        self._copies: dict[int, Any] = {}
        self._open: set[int] = set()
        self._texts: dict[bytes, str] = {}

    def of(self, value: Any, depth: int = 0) -> Any:
        if type(value) is bytes:
            return self._text(value)
        if type(value) in ATOMS:
            return value
        if type(value) not in (dict, list, tuple):
            raise _NotPlain(f"it holds a {type(value).__name__}")
        key = id(value)  # unique: `value` lives as long as the whole object
        if key not in self._copies:
            if key in self._open or depth >= DEEPEST:
                raise _NotPlain(
                    f"its containers hold themselves, or are nested over {DEEPEST} deep"
                )
            self._open.add(key)
            copy: Any
            if isinstance(value, dict):
                pairs = value.items()
                copy = {self.of(name, depth + 1): self.of(item, depth + 1) for name, item in pairs}
            else:
                copy = type(value)(self.of(item, depth + 1) for item in value)
            self._copies[key] = copy
            self._open.remove(key)
        return self._copies[key]

    def _text(self, raw: bytes) -> str:
        # keys and words come back a million times: one str for each
        if raw not in self._texts:
            try:
                self._texts[raw] = raw.decode("utf-8")
            except UnicodeDecodeError:
                self._texts[raw] = raw.decode("latin-1")
        return self._texts[raw]


def load_plain_pickle(path: Path) -> Any:
    """The plain data in the pickle `path`, of any protocol, written by Python 2 or 3.

    Raises:
        UserError: no such file; it is truncated or no pickle; it holds or names anything but plain
            data, in which case none of it has run.
    """
    try:
        with path.open("rb") as stream:
            # "bytes": Python 2's str as it stands, decoded by `_PlainCopy` where no error can arise
            content = _PlainUnpickler(stream, encoding="bytes").load()
            if stream.read(1):
                raise UserError(f"{path}: has bytes after its pickle's end; get the file again")
        return _PlainCopy().of(content)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _NotPlain as error:
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
