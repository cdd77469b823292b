"""The tool `ground`: what is wrong is one line, before the work; what is right is drawn and printed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camground.cli import app
from camground.stages.ground import RED


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph and the settings of a model, in the working folder; no network may be loaded."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), "gray").save("a.png")
    (tmp_path / "model").mkdir()
    settings = {"proposals": {}, "gradcam": {}, "predict": {}}
    (tmp_path / "model" / "grounding.json").write_text(json.dumps(settings))
    monkeypatch.setitem(sys.modules, "camground.pipeline", None)
    return tmp_path


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose first box is ordinary and whose second is thinner than a pixel."""

    class Pipeline:
        @classmethod
        def from_pretrained(cls, folder: Path, device: str) -> Pipeline:
            return cls()

        def __call__(self, photograph: Path, texts: list[str]) -> list[dict[str, Any]]:
            names, edges = ("xmin", "ymin", "xmax", "ymax"), ((10.0, 10.0, 30.0, 25.0), (50.2, 3, 50.4, 3.1))
            return [
                {"label": text, "score": 1.5, "box": dict(zip(names, box, strict=True))}
                for text, box in zip(texts, edges, strict=False)
            ]

    module = types.ModuleType("camground.pipeline")
    module.GroundingPipeline = Pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "camground.pipeline", module)


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["ground", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "b.png", "boat"], "b.png: no such photograph"),
        (["model", "model/grounding.json", "boat"], "model/grounding.json: unreadable: not an image that"),
        (["model", "big.png", "boat"], "big.png: more than 179 million pixels; make it smaller"),
        (["model", "a.png", ""], "phrase 1: '' names nothing; say in words what to find"),
        (["model", "a.png", "boat", " ,"], "phrase 2: ' ,' names nothing"),
        (["nowhere", "a.png", "boat"], "nowhere: not a folder that the stage `tracking` made"),
        (["model", "a.png", "boat", "--drawn", "o"], "--drawn o: no ending cannot be drawn to; end it with"),
        (["model", "a.png", "boat", "--drawn", "o.txt"], "--drawn o.txt: .txt cannot be drawn to"),
        (["model", "a.png", "boat", "--drawn", "o.xbm"], "--drawn o.xbm: .xbm cannot be drawn to"),
        (["model", "a.png", "boat", "--drawn", "no/o.png"], "--drawn no/o.png: no folder no; make it first"),
        (["model", "a.png", "boat", "--drawn", "f.png"], "--drawn f.png: is a folder; name a file"),
        (["model", "a.png", "boat", "--drawn", "./a.png"], "--drawn a.png: is the photograph itself"),
        (
            ["model", "a.png", "boat", "--drawn", "/proc/o.png"],
            "--drawn /proc/o.png: /proc cannot be written",
        ),
    ],
)
def test_what_is_wrong_is_said_before_the_work(arguments: list[str], said: str, folder: Path) -> None:
    Image.new("1", (20_000, 10_000)).save("big.png")
    Path("f.png").mkdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, output = run(*arguments)
    assert code == 1
    (line,) = output.splitlines()
    assert f"error: {said}" in line
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_an_argument_that_is_missing() -> None:
    code, output = run("model", "a.png")
    assert code == 2
    assert "Missing argument 'phrases'" in output


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "WEBP", "pdf"])
def test_boxes_are_drawn_and_printed(ending: str, pipeline: None) -> None:
    code, output = run("model", "a.png", "boat", "写真, red", "--drawn", f"grün {{x}}.{ending}")
    assert code == 0, output
    assert output.splitlines() == [
        "text,x1,y1,x2,y2,score",
        "boat,10.0,10.0,30.0,25.0,1.5",
        '"写真, red",50.2,3,50.4,3.1,1.5',
    ]
    if ending == "png":
        pixels = np.asarray(Image.open("grün {x}.png"))
        # the phrase lies on the other edges
        assert (pixels[10:25, 10] == RED).all()
        assert not (pixels[10:25, 9] == RED).all(-1).any()
        assert (pixels[3, 50] == RED).all()
        assert not (pixels[25, 15:30] == RED).all(-1).any()


def test_nothing_is_left_of_what_could_not_be_drawn(pipeline: None, folder: Path) -> None:
    Image.new("RGB", (17_000, 20)).save("wide.png")
    before = sorted(folder.iterdir())
    code, output = run("model", "wide.png", "boat", "--drawn", "o.webp")
    assert code == 1
    assert "error: --drawn o.webp: cannot be written (" in output
    assert "text,x1" not in output
    assert sorted(folder.iterdir()) == before
