"""The tool `ground`: what is wrong is one line, before the work; what is right is drawn and printed."""

from __future__ import annotations

import csv
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base as ExifTag
from typer.testing import CliRunner

from camground.cli import app
from camground.data import photographs
from camground.report.drawing import COLOURS, NOT_THERE
from camground.study.errors import UserError
from file_server import Server

HEADER = "image,phrase,xmin,ymin,xmax,ymax,score"


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph and the settings of a model, in the working folder; no network may be loaded."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (600, 400), "gray").save("a.png")
    (tmp_path / "model").mkdir()
    settings = {"proposals": {}, "gradcam": {}, "predict": {}}
    (tmp_path / "model" / "grounding.json").write_text(json.dumps(settings))
    (tmp_path / "model" / "calibration.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "camground.pipeline", None)
    return tmp_path


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose first box is ordinary and whose second, which is thinner than a pixel, is not there."""

    class Pipeline:
        @classmethod
        def from_pretrained(cls, folder: Path, device: str) -> Pipeline:
            return cls()

        def __call__(self, source: Any, texts: list[str]) -> list[dict[str, Any]]:
            photographs.read_photograph(source)
            edges = ((100.0, 100.0, 300.0, 250.0), (502.0, 30, 502.4, 30.1))
            names = ("xmin", "ymin", "xmax", "ymax")
            return [
                {"label": text, "score": score, "box": dict(zip(names, box, strict=True))}
                for text, box, score in zip(texts, edges, (0.9375, 0.125), strict=False)
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
        (["model", "http://127.0.0.1:9/a.png", "boat"], "http://127.0.0.1:9/a.png: cannot be downloaded"),
        (["model", "a.png", ""], "phrase 1: '' names nothing; say in words what to find"),
        (["model", "a.png", "boat", " ,"], "phrase 2: ' ,' names nothing"),
        (["model", "a.png"], "give a photograph and phrases, or a --table of them"),
        (["model"], "give a photograph and phrases, or a --table of them"),
        (["nowhere", "a.png", "boat"], "nowhere: not a folder that the stage `tracking` made"),
        (["old", "a.png", "boat"], "old: holds no calibration.json; another version of camground made it"),
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
        (["model", "--table", "no.csv"], "--table no.csv: cannot be read (No such file"),
        (["model", "--table", "t.csv"], "t.csv: no column phrase in its first line (image,text)"),
        (["model", "a.png", "--table", "t.csv"], "--table: names photographs and phrases itself"),
        (["model", "--table", "t.csv", "--drawn", "o.png"], "--drawn: draws into one photograph"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(arguments: list[str], said: str, folder: Path) -> None:
    Image.new("1", (20_000, 10_000)).save("big.png")
    Path("f.png").mkdir()
    Path("t.csv").write_text("image,text\na.png,boat\n")
    Path("old").mkdir()
    Path("old/grounding.json").write_text("{}")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, output = run(*arguments)
    assert code == 1
    (line,) = output.splitlines()
    assert f"error: {said.replace('(image,text)', '(image, text)')}" in line
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "WEBP", "pdf"])
def test_boxes_are_drawn_and_printed(ending: str, pipeline: None) -> None:
    code, output = run("model", "a.png", "boat", "写真, red", "--drawn", f"grün {{x}}.{ending}")
    assert code == 0, output
    assert output.splitlines() == [
        HEADER,
        "a.png,boat,100.0,100.0,300.0,250.0,0.938",
        'a.png,"写真, red",502.0,30,502.4,30.1,0.125',
    ]
    if ending == "png":
        pixels = np.asarray(Image.open("grün {x}.png"))
        # the label stands over the box's upper edge
        assert (pixels[100:250, 100] == rgb(COLOURS[0])).all()
        assert not (pixels[100:250, 99] == rgb(COLOURS[0])).all(-1).any()
        assert (pixels[249, 100:300] == rgb(COLOURS[0])).all()
        assert not (pixels[250, 100:300] == rgb(COLOURS[0])).all(-1).any()
        assert (pixels[30, 502] == rgb(NOT_THERE)).all()


def test_answers_are_printed_as_json(pipeline: None) -> None:
    code, output = run("model", "a.png", "写真", "--json")
    assert code == 0, output
    box = {"xmin": 100.0, "ymin": 100.0, "xmax": 300.0, "ymax": 250.0}
    assert json.loads(output) == [{"image": "a.png", "label": "写真", "score": 0.9375, "box": box}]


def test_a_photograph_on_its_side_is_drawn_upright(pipeline: None) -> None:
    exif = Image.Exif()
    exif[ExifTag.Orientation] = 6
    Image.new("RGB", (400, 600), "gray").save("side.jpg", exif=exif)
    code, output = run("model", "side.jpg", "boat", "--drawn", "o.png")
    assert code == 0, output
    with Image.open("o.png") as drawn:
        assert drawn.size == (600, 400)
        assert not drawn.getexif()


def test_a_photograph_at_an_address(pipeline: None) -> None:
    address = Server().add("/a.png", content=Path("a.png").read_bytes())
    code, output = run("model", address, "boat")
    assert code == 0, output
    assert output.splitlines()[1] == f"{address},boat,100.0,100.0,300.0,250.0,0.938"


def test_a_table_has_an_answer_or_an_error_for_every_row(folder: Path, pipeline: None) -> None:
    (folder / "t").mkdir()
    (folder / "a.png").rename(folder / "t" / "a.png")
    rows = ["phrase,id,image", "boat,1,a.png", "boat,2,no.png", "dog,3,a.png", " ,4,a.png", "cat,5,", "one,6"]
    (folder / "t" / "p.csv").write_text("\n".join(rows))
    code, output = run("model", "--table", "t/p.csv")
    assert code == 0
    assert "4 of 6 rows have no answer; the column error says why" in output
    found = list(csv.DictReader(io.StringIO(output[output.index(HEADER) :])))
    assert [(row["image"], row["phrase"], row["score"]) for row in found] == [
        *(("a.png", "boat", "0.938"), ("no.png", "boat", ""), ("a.png", "dog", "0.125")),
        *(("a.png", "", ""), ("", "cat", ""), ("", "", "")),
    ]
    problems = [
        "",
        "t/no.png: no such photograph",
        "",
        "phrase: missing, or without a word",
        "image: missing",
    ]
    assert [row["error"] for row in found] == [*problems, "t/p.csv, line 7: 2 fields, expected 3 ('one,6')"]
    code, output = run("model", "--table", "t/p.csv", "--json")
    listed = json.loads(output[output.index("[\n") :])
    assert [("error" in row) != ("box" in row) for row in listed] == [True] * 6
    assert listed[1]["error"] == problems[1]


def test_nothing_is_left_of_what_could_not_be_drawn(pipeline: None, folder: Path) -> None:
    Image.new("RGB", (17_000, 20)).save("wide.png")
    before = sorted(folder.iterdir())
    code, output = run("model", "wide.png", "boat", "--drawn", "o.webp")
    assert code == 1
    assert "error: --drawn o.webp: cannot be written (" in output
    assert HEADER not in output
    assert sorted(folder.iterdir()) == before


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipeline:
        @classmethod
        def from_pretrained(cls, folder: Path, device: str) -> None:
            raise UserError(f"device {device!r}: cannot be used here")

    module = types.ModuleType("camground.pipeline")
    module.GroundingPipeline = Pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "camground.pipeline", module)
    code, output = run("model", "a.png", "boat", "--device", "cuda:9")
    assert code == 1
    assert "error: device 'cuda:9': cannot be used here" in output
