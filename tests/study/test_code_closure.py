"""The files that a stage's rule has as inputs: all that it imports, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from camground.study.code_closure import PACKAGE, code_files


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    for name, text in {
        "__init__.py": "",
        "errors.py": "",
        "near.py": "from .errors import X\n",
        "unused.py": "",
        "stage.py": "import json\nfrom pack import near\n",
        "lazy.py": "def f():\n    import pack.deep.leaf\n",
        "by_name.py": 'KINDS = {"leaf": "pack.deep.leaf"}\n',
        "deep/__init__.py": "",
        "deep/__main__.py": "from pack.near import Y\n",
        "options.py": "import pack.unused\n",
        "deep/short.py": "from pack.options import O\nimport pack.near\n",
        "deep/leaf.py": "from ..errors import Z\nfrom .twin import T\n",
        "deep/twin.py": "from pack.deep import leaf\n",
        "deep/page.html": "",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(module: str, package: Path, without: str | None = None) -> set[str]:
    return {str(path.relative_to(package)) for path in code_files(module, package, without)}


DEEP = {"__init__.py", "errors.py", "deep/__init__.py", "deep/leaf.py", "deep/twin.py"}


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("pack.errors", {"__init__.py", "errors.py"}),
        ("pack.stage", {"__init__.py", "errors.py", "near.py", "stage.py"}),
        ("pack.lazy", DEEP | {"lazy.py", "deep/page.html"}),
        ("pack.by_name", DEEP | {"by_name.py", "deep/page.html"}),
        ("pack.deep", {"__init__.py", "deep/__init__.py", "deep/page.html"}),
    ],
)
def test_files_of_a_module(module: str, files: set[str], package: Path) -> None:
    assert names(module, package) == files


def test_an_edit_of_the_imports_is_seen(package: Path) -> None:
    assert "unused.py" not in names("pack.stage", package)
    (package / "errors.py").write_text("import pack.unused\n")
    assert "unused.py" in names("pack.stage", package)


def test_a_module_that_is_not_there(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pack\.absent"):
        code_files("pack.absent", package)


def test_what_the_command_line_alone_needs_is_left_out(package: Path) -> None:
    files = names("pack.deep.short", package, without="pack.options")
    assert files == {"__init__.py", "errors.py", "near.py"} | {
        *("deep/__init__.py", "deep/short.py", "deep/page.html")
    }


@pytest.mark.parametrize("stage", ["evaluate", "ablation", "train"])
def test_whatever_python_loads_is_listed(stage: str) -> None:
    """Of the stage's module and of the room that it calls."""
    files = code_files(f"camground.stages.{stage}")
    rooms = {"evaluate": "evaluation.metrics", "ablation": "evaluation.ablation"}
    program = (
        f"import camground.stages.{stage}, camground.{rooms.get(stage, 'training.grounder')}, sys\n"
        "for module in list(sys.modules.values()):\n"
        "    if module.__name__.partition('.')[0] == 'camground': print(module.__file__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {Path(line) for line in done.stdout.split("\n") if line}
    assert PACKAGE / "stages" / f"{stage}.py" in loaded, done.stderr
    assert loaded - set(files) == {PACKAGE / "stages" / "command.py"}


def test_no_edit_of_the_command_or_of_the_studys_config_reruns_a_stage() -> None:
    apart = {PACKAGE / "cli.py", PACKAGE / "stages" / "command.py", PACKAGE / "stages" / "config.py"}
    for stage in (PACKAGE / "stages").glob("*.py"):
        if stage not in apart and stage.stem != "__init__":
            assert apart.isdisjoint(code_files(f"camground.stages.{stage.stem}")), stage


def test_the_label_firewall_of_the_code() -> None:
    """No stage before evaluation holds the code that reads targets."""
    readers = {PACKAGE / "evaluation" / "ground_truth.py", PACKAGE / "stages" / "evaluate.py"}
    assert readers <= set(code_files("camground.stages.evaluate"))
    for stage in ("proposals", "features", "matcher", "gradcam", "train", "predict"):
        assert readers.isdisjoint(code_files(f"camground.stages.{stage}"))


def test_training_knows_nothing_of_the_store() -> None:
    """It cannot wait for MLflow, or die of it: the store is made of its files, afterwards."""
    for stage in ("matcher", "tuning", "train", "predict", "evaluate", "baselines"):
        rooms = {file.relative_to(PACKAGE).parts[0] for file in code_files(f"camground.stages.{stage}")}
        assert "tracking" not in rooms, stage
    assert PACKAGE / "tracking" / "store.py" in code_files("camground.stages.tracking")
