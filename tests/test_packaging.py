"""What the package declares is what its code imports, and what a wheel and the locks hold."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import camground
from camground.study.code_closure import PACKAGE, code_files
from conftest import PARTS

REPOSITORY = PACKAGE.parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
# Declared without an import: what reads them.
INDIRECT = {
    "torchvision": "the image processors of transformers",
    "sentencepiece": "the tokenizer of SigLIP",
    "snakemake": "the rules",
}


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements such as `torch>=2.9` name, normalised."""
    return {re.split(r"[ <>=!~;\[]", text)[0].lower().replace("_", "-") for text in requirements}


DISTRIBUTIONS = packages_distributions()  # reads every installed package
CORE = names(PROJECT["project"]["dependencies"])


@cache
def mentions(file: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The top-level modules that a file imports, and those among its text constants."""
    imported, constants = set(), set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            constants.add(node.value)
    return frozenset(imported), frozenset(constants)


def foreign(files: Iterable[Path]) -> Iterator[tuple[Path, set[str]]]:
    """Files and the distributions that a module of theirs is from, imported by `import_module` too."""
    for file in files:
        imported, constants = mentions(file)
        modules = imported | {text for text in constants if text in DISTRIBUTIONS and "_" in text}
        for module in modules - sys.stdlib_module_names - {"camground"}:
            assert module in DISTRIBUTIONS, f"{file} imports {module}, which is not installed"
            yield file, {name.lower().replace("_", "-") for name in DISTRIBUTIONS[module]}


def undeclared(files: Iterable[Path], declared: set[str]) -> list[str]:
    return sorted(
        f"{file.relative_to(PACKAGE)}: {' or '.join(sources)}"
        for file, sources in foreign(files)
        if not sources & (declared | {"pydantic-core"})  # a part of pydantic
    )


def test_every_import_is_declared() -> None:
    workflow = CORE | names(EXTRAS["workflow"]) | names(EXTRAS["spacy"])
    report = workflow | names(EXTRAS["report"])
    for file in sorted(PACKAGE.rglob("*.py")):
        allowed = report if file.is_relative_to(PACKAGE / "report") else workflow
        assert undeclared([file], allowed) == []


def test_grounding_needs_the_core_alone() -> None:
    files = [file for file in code_files("camground.pipeline") if file.suffix == ".py"]
    assert undeclared(files, CORE) == []


def test_what_is_declared_is_used() -> None:
    used = INDIRECT.keys() | {name for _, sources in foreign(PACKAGE.rglob("*.py")) for name in sources}
    declared = CORE.union(*(names(EXTRAS[extra]) for extra in ("workflow", "report", "spacy", "siglip")))
    assert declared - used == set()


def test_the_version_is_said_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == camground.__version__


def test_a_wheel_carries_every_data_file() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["camground"]
    carried = {file for pattern in patterns for file in PACKAGE.glob(pattern)}
    data = {
        file
        for file in PACKAGE.rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"} and "__pycache__" not in file.parts
    }
    assert data
    assert data <= carried
    for file in data:
        assert (file.parent / "__init__.py").exists(), f"{file} is in no package"


def locked(file: str) -> dict[str, str]:
    lines = (REPOSITORY / "envs" / file).read_text().splitlines()
    return dict(re.match(r"([\w.-]+)==(\S+)", line).groups() for line in lines if line[:1].isalnum())  # type: ignore[union-attr,misc]


def test_locks_hold_what_is_declared() -> None:
    runtime = locked("requirements.lock")
    needed = CORE | names(EXTRAS["workflow"]) | names(EXTRAS["report"]) | names(EXTRAS["spacy"])
    assert needed <= runtime.keys()
    for extra in ("dev", "docs"):  # installed into the same environment
        others = locked(f"requirements-{extra}.lock")
        assert names(EXTRAS[extra]) <= others.keys()
        both = runtime.keys() & others.keys()
        assert {name: runtime[name] for name in both} == {name: others[name] for name in both}


def test_the_container_is_made_as_a_checkout_is() -> None:
    """Its make target is the Makefile's, and what it copies is all that the workflow and the package are."""
    container = (REPOSITORY / "envs/Containerfile").read_text()
    assert "RUN make .venv/.package" in container
    assert "PACKAGE := $(VENV)/.package" in (REPOSITORY / "Makefile").read_text()
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    copied = {line[1:] for line in lines if line.startswith("!")}
    assert all((REPOSITORY / name).exists() for name in copied)
    built_from = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "pyproject.toml"}
    assert {*PARTS, *built_from, "Makefile"} <= copied


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock", "requirements-docs.lock"])
def test_a_lock_names_no_index(file: str) -> None:
    text = (REPOSITORY / "envs" / file).read_text()
    assert "index-url" not in text
    assert "://" not in text
