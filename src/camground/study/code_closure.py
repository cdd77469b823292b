"""Which files of the package a stage runs: its module and all that it imports, however deep.

The workflow makes them inputs of the stage's rule, so that an edit reruns the stages that it can
change and no other. They are read off the source, without importing anything.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# Options and their help: an edit changes no result.
COMMAND_LINE = "camground.stages.command"


def code_files(module: str, package: Path = PACKAGE, without: str | None = COMMAND_LINE) -> list[Path]:
    """The sorted files of `package`, the folder of the package, that running `module` reads.

    Follows imports anywhere in a file (inside functions too) and constants that spell a module's
    name, as a table of modules to import does. A subpackage brings its data files (templates). The
    file of the module `without`, and what is imported by it alone, is left out.
    Raises `ModuleNotFoundError` when there is no such module.
    """
    files: set[Path] = set()
    left_out = set(_files(without, package)[:1]) if without else set()
    waiting = [module]
    if not _files(module, package):
        raise ModuleNotFoundError(f"no module {module} in {package}")
    while waiting:
        for file in _files(waiting.pop(), package):
            if file not in files | left_out:
                files.add(file)
                waiting += _imports(file, package, file.stat().st_mtime_ns)
                if file.name == "__init__.py" and file.parent != package:
                    files.update(_data_files(file.parent))
    return sorted(files)


def _files(module: str, package: Path) -> list[Path]:
    """The file of a module and those of the packages above it; empty when it is no module here."""
    top, *parts = module.split(".")
    if top != package.name:
        return []
    *parents, last = [package.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
    own = last / "__init__.py" if last.is_dir() else last.with_suffix(".py")
    if not own.is_file():
        return []
    return [own, *(parent / "__init__.py" for parent in parents)]


@cache
def _imports(file: Path, package: Path, changed: int) -> frozenset[str]:
    """Names that may be modules of the package: `from a import b` gives both `a` and `a.b`.

    `changed`: the file's time of change. Thirteen stages read much the same files.
    """
    parents = [package.name, *file.relative_to(package).with_suffix("").parts][:-1]
    named = _named(ast.parse(file.read_text(), str(file)), parents, package.name)
    return frozenset(name for name in named if name.partition(".")[0] == package.name)


def _named(source: ast.Module, parents: list[str], package: str) -> Iterator[str]:
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.startswith(f"{package}.")
            and node.value.isascii()
            and node.value.replace(".", "_").isidentifier()
        ):
            yield node.value


def _data_files(folder: Path) -> Iterator[Path]:
    for file in folder.iterdir():
        if file.is_file() and file.suffix not in {".py", ".pyc"} and not file.name.startswith("."):
            yield file
