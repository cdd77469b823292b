"""The documents say what is there: links, commands, options, files, functions and keys of the config."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from camground import cli
from camground.stages.config import StudyConfig
from camground.study.layers import merge
from camground.study.section import section_of
from documents import DOCUMENTS, REPOSITORY, code, command_lines, text_of

# What happened is told with the names of its time.
PAST = {REPOSITORY / "CHANGELOG.md", REPOSITORY / "docs/experiments.md"}
FILE_ENDINGS = (
    "cff|csv|css|html|ini|json|jpg|lock|md|p|parquet|png|py|safetensors|sh|smk|tex|tsv|txt|xml|yaml"
)

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def anchors(document: Path) -> set[str]:
    """The anchors that a forge gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def test_readme_is_one_page():
    assert text_of(REPOSITORY / "README.md").count("\n") <= 110


@every_document
def test_links_lead_somewhere(document: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_document
def test_commands_exist(document: Path):
    for name, *arguments in command_lines(document, "camground"):
        if name == "--help" or name.startswith("<"):
            continue
        assert name in (*cli.STAGES, *cli.TOOLS), name
        if "--help" in arguments or not arguments:
            continue  # named, not called
        group = typer.main.get_command(cli.app)
        _, command, _ = group.resolve_command(typer.Context(group), [name])
        if document in PAST:
            known = {option for parameter in command.params for option in parameter.opts}
            options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
            assert options <= known, name
        else:
            read_as(command, name, arguments)


def read_as(command: Any, name: str, arguments: list[str]) -> None:
    """The command line takes the arguments: options with their values, nothing left out or over."""
    context = typer.Context(command, info_name=name)
    if hasattr(command, "resolve_command"):
        following, inner, rest = command.resolve_command(context, arguments)
        return read_as(inner, following, rest)
    values, over, _ = command.make_parser(context).parse_args([*arguments])
    assert not over, f"{name}: {over}"
    for parameter in command.params:
        given = values.get(parameter.name) not in (None, (), [])
        assert given or not parameter.required, f"{name}: {parameter.name}"


@every_document
def test_studies_and_profiles_exist(document: Path):
    for arguments in command_lines(document, "snakemake"):
        for flag, following in (("--configfile", 9), ("--profile", 1)):
            if flag not in arguments:
                continue
            first = arguments.index(flag) + 1
            for value in arguments[first : first + following]:
                if value.startswith("-"):
                    break
                assert (REPOSITORY / value).exists(), value


@every_document
def test_make_targets_exist(document: Path):
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), flags=re.M)
    for name, *_ in command_lines(document, "make"):
        assert name in targets, name


@every_document
def test_files_and_functions_exist(document: Path):
    """`src/...` and the like, and `room/module.py:Class.function` below src/camground."""
    if document in PAST:
        pytest.skip("tells of the past")
    folders = "src|tests|configs|docs|rules|profiles|envs|workflow"
    for span in code(document):
        if re.fullmatch(rf"(?:{folders})/[\w./+-]*", span):
            assert (REPOSITORY / span).exists(), span
        if match := re.fullmatch(r"([\w/]+\.py):([\w.]+)", span):
            names = definitions(REPOSITORY / "src/camground" / match[1])
            assert match[2] in names, span


@functools.cache
def definitions(module: Path) -> set[str]:
    """Functions, classes and constants of a module, methods and class variables as Class.name."""
    if not module.exists():
        return set()

    def within(body: list[ast.stmt], prefix: str) -> set[str]:
        names: set[str] = set()
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                names |= within(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets += [node.target] if isinstance(node, ast.AnnAssign) else []
            names |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
        return names

    return within(ast.parse(module.read_text(encoding="utf-8")).body, "")


def former_keys() -> set[str]:
    """The keys that the changelog lists as renamed or removed."""
    tables = text_of(REPOSITORY / "CHANGELOG.md").partition("### Renamed config keys")[2]
    tables = tables.partition("\n## ")[0]
    rows = [line.split("|")[1] for line in tables.splitlines() if line.startswith("| `")]
    return {key.partition(":")[0] for row in rows for key in re.findall(r"`([^`]+)`", row)}


def is_key(dotted: str) -> bool:
    """Whether the config has a key, or a section, of this path."""
    section = StudyConfig
    for part in dotted.split("."):
        if section is None or part not in section.model_fields:
            return False
        section = section_of(section.model_fields[part].annotation)
    return True


def test_former_keys_are_former():
    keys = former_keys()
    assert len(keys) > 50
    again = {key for key in keys if is_key(key)}
    # of two keys that became one, the one that kept its name
    assert again <= {"evaluate.splits", "ablation.split"}, again


@every_document
def test_config_keys_exist(document: Path):
    former = former_keys()
    sections = set(StudyConfig.model_fields) | {key.partition(".")[0] for key in former}
    for span in code(document):
        match = re.match(r"([a-z_0-9]+(?:\.[a-z_0-9]+)+)(?=$|:? )", span.removesuffix(":"))
        if not match or match[1].partition(".")[0] not in sections:
            continue
        key = match[1]
        if re.search(rf"\.(?:{FILE_ENDINGS})$", key):
            continue
        assert is_key(key) or key in former or is_prefix(key, former), key


def is_prefix(key: str, keys: set[str]) -> bool:
    return any(other.startswith(f"{key}.") for other in keys)


def pages(entries: list[Any]) -> list[str]:
    """The files that mkdocs.yml's `nav` names, in order."""
    found = []
    for entry in entries:
        (value,) = entry.values()
        found += pages(value) if isinstance(value, list) else [value]
    return found


def test_the_site_shows_every_document_once() -> None:
    site = (REPOSITORY / "docs/site.py").read_text()
    top = ast.literal_eval(re.search(r"^PAGES = (\{.*\})$", site, flags=re.M)[1])
    assert all((REPOSITORY / name).exists() for name in top)
    documents = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
    named = pages(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(documents | set(top.values()))


def test_the_python_reference_names_what_is_there() -> None:
    for name in re.findall(r"^::: (\S+)$", text_of(REPOSITORY / "docs/api.md"), flags=re.M):
        module, _, last = name.rpartition(".")
        assert last in definitions(module_file(module)) or module_file(name).exists(), name


def module_file(name: str) -> Path:
    return REPOSITORY / "src" / Path(*name.split(".")).with_suffix(".py")


def test_the_recipe_of_a_variant_is_a_study():
    recipe = text_of(REPOSITORY / "CONTRIBUTING.md").partition("### A variant")[2]
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", recipe, flags=re.S)[1])
    study = StudyConfig.parse(merge(StudyConfig().to_dict(), example))
    (name,) = example["variants"]
    assert name in study.variant_names
    assert study.variant(name) != study.variant("full")
