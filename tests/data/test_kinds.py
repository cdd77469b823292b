"""The registry of data kinds: the recipe for a new one, followed; what each kind tells the rules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from camground.data.config import DataConfig
from camground.study import tables
from camground.study.errors import UserError
from data_stage import NAMES, run_data

SECTION = '''class ToyConfig(KindSection):
    """Photographs named in a list."""

    module: ClassVar[str] = "readers.toy"

    names: str = "names.txt"
    """File in data_root with the names of the photographs, one per line."""

    def source_files(self) -> list[str]:
        return [self.names]


class DataConfig(Section):
'''
READER = """
from camground.data.kinds import data_tables, expression_row, image_row, target_row
from camground.data.photographs import inspect
from camground.data.rejected import Rejected


def write(config, data_root, outputs):
    rejected = Rejected()
    names = (data_root / config.toy.names).read_text().split()
    with data_tables(outputs) as tables:
        for number, name in enumerate(names, start=1):
            file = inspect(data_root / name)
            if file.problem:
                rejected.add(config.toy.names, number, name, file.problem)
                continue
            tables.add(
                image_row(name, data_root / name, file.size, "test"),
                [expression_row(f"{name}#0", name, "a thing", "phrase", "test")],
                [target_row(f"{name}#0", [[0, 0, 1, 1]])],
            )
    rejected.settle(len(names), config.max_rejected_share, outputs.rejected)
"""
ASK = """
import json
from camground.stages.config import StudyConfig
study = StudyConfig.parse(json.loads({config!r}))
assert study.data.chosen.source_files() == ["names.txt"]
schema = json.dumps(StudyConfig.model_json_schema())
assert "names of the photographs, one per line" in schema and '"toy"' in schema
"""


def test_the_recipe_for_a_new_kind(repository: Path, tmp_path: Path) -> None:
    """One class and one field in the config, and one file: then the stage and the study know the kind."""
    package = tmp_path / "src" / "camground"
    shutil.copytree(repository / "src" / "camground", package)
    config_file = package / "data" / "config.py"
    text = config_file.read_text().replace("class DataConfig(Section):\n", SECTION)
    field = "    scenes: ScenesConfig = ScenesConfig()\n"
    config_file.write_text(text.replace(field, f"{field}    toy: ToyConfig = ToyConfig()\n"))
    (package / "data" / "readers" / "toy.py").write_text(READER)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    run_data(tmp_path / "scenes", "scenes", train=2, val=2, test=1)
    picture = tmp_path / "scenes" / "pictures" / "test" / "test-000000.png"
    shutil.copy(picture, photographs / "a.png")
    (photographs / "names.txt").write_text("a.png b.png")

    config = {"data_root": str(photographs), "data": {"kind": "toy", "max_rejected_share": 0.5}}
    outputs = [f"--{name}={tmp_path / name}.parquet" for name in NAMES]
    command = ["-m", "camground.cli", "data", "--config", json.dumps(config), *outputs]
    for arguments in (command, ["-c", ASK.format(config=json.dumps(config))]):
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    counts = {name: len(tables.read(name, tmp_path / f"{name}.parquet")) for name in NAMES}
    assert counts == dict.fromkeys(NAMES, 1)


def test_every_kind_has_a_module_and_says_which_files_to_watch(repository: Path) -> None:
    for name, section in DataConfig.kinds().items():
        path = repository / "src" / section.full_module().replace(".", "/")
        assert path.with_suffix(".py").is_file(), name
    chosen = DataConfig.parse({"kind": "folder", "folder": {"phrases": None}}).chosen
    assert chosen.source_files() == ["captions.csv"]
    names = DataConfig(kind="refer").chosen.source_files()
    assert names == ["refcoco/refs(unc).p", "refcoco/instances.json"]


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.kind: must be one of scenes, folder.*not 'film'"):
        run_data(tmp_path, "film")
