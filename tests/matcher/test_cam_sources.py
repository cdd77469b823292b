"""CAM sources: the registry, a new source, and the stage with the study's own matcher or a pretrained one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camground.features.backbone import Backbone
from camground.features.config import BackboneConfig, FeaturesConfig
from camground.grounder.batches import CamTable
from camground.matcher.cam import CamSource
from camground.matcher.cam_sources import SOURCES, Source
from camground.matcher.config import GradcamConfig
from camground.stages.gradcam import gradcam
from camground.study import tables
from camground.study.errors import UserError
from tiny_matchers import KINDS, opened, section
from tiny_models import TEXTS
from tiny_study import some_calibration

CPU = torch.device("cpu")
OWNER = torch.tensor([0, 0, 1])


class Corner(CamSource):
    """A new source: a map of one cell, the brightness of the photograph's first pixel."""

    name = "corner"

    def __init__(self, config, device, own):
        self.released = False

    def read(self, path):
        with Image.open(path) as picture:
            return torch.tensor(picture.convert("RGB").getpixel((0, 0))).view(3, 1, 1) / 255

    def __call__(self, images, owner, texts):
        return images.mean(1)[owner].numpy()

    def release(self):
        self.released = True


def test_the_registry_names_a_class_for_each_source():
    for name, source in SOURCES.items():
        assert issubclass(resolve_name(source.cam), CamSource)
        assert name == "matcher" or name in GradcamConfig.model_fields


def test_a_new_source_is_a_class_and_an_entry(study, monkeypatch):
    monkeypatch.setitem(SOURCES, "corner", Source(f"{__name__}:Corner", "photographs"))
    table = run_gradcam(study, {"source": "corner", "model": "none"})
    with Image.open(study / "two.png") as picture:
        expected = np.mean(picture.getpixel((0, 0))) / 255
    assert table["source"].unique().tolist() == ["corner"]
    last = table.set_index("expression_id").loc["e2"]
    assert (last["height"], last["width"]) == (1, 1)
    assert last["map"][0] / 255 == pytest.approx(expected, abs=0.5 / 255 + 1e-6)


@pytest.fixture
def study(tmp_path) -> Path:
    """A folder with the tables of two photographs and three phrases."""
    rng = np.random.default_rng(0)
    images, expressions = [], []
    sizes = {"one": (40, 30), "two": (25, 50)}
    for (name, (width, height)), split in zip(sizes.items(), ("train", "test"), strict=True):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        images.append([name, f"{name}.png", width, height, split])
    for number, (image, text) in enumerate(zip(("one", "one", "two"), TEXTS, strict=True)):
        split = "train" if image == "one" else "test"
        expressions.append([f"e{number}", image, text, "phrase", split, None, None, None, None])
    for name, rows in (("images", images), ("expressions", expressions)):
        columns = tables.schema(name).names
        tables.write(name, pd.DataFrame(rows, columns=columns), tmp_path / f"{name}.parquet")
    return tmp_path


def run_gradcam(study: Path, config: dict) -> pd.DataFrame:
    """The table that the stage writes."""
    names = ("images", "expressions", "cams")
    gradcam(json.dumps({"gradcam": config}), *(study / f"{name}.parquet" for name in names))
    return tables.read("cams", study / "cams.parquet")


@pytest.mark.parametrize("source", KINDS)
def test_the_stage_writes_the_table_that_the_grounder_reads(source, checkpoints, study):
    size = {"image_size": [32, 48]}
    config = {**section(source, checkpoints, **size), "batch_size": 2}
    table = run_gradcam(study, config).set_index("expression_id")
    assert sorted(table.index) == ["e0", "e1", "e2"]
    assert set(table["height"]) == {4}
    assert set(table["width"]) == {6}
    assert table["source"].str.startswith(f"{source}:{checkpoints[source]}:").all()
    with opened(source, checkpoints, **size) as cam:
        photographs = torch.stack([cam.read(study / f"{name}.png") for name in ("one", "two")])
        expected = cam(photographs, OWNER, TEXTS)
    read = CamTable(study / "cams.parquet", ["e2", "nobody", "e0"], [0.4, 0.6])
    maps = read.take(np.arange(3))
    # a random model's map may be all zero, which counts as none
    assert read.has_cam.tolist() == [expected[2].any(), False, expected[0].any()]
    assert np.allclose(maps[[0, 2]].numpy(), expected[[2, 0]], atol=0.5 / 255 + 1e-4)
    drawn = (read.boxes[..., 2:] > read.boxes[..., :2]).all(-1)
    assert drawn.tolist() == [[known] * 2 for known in read.has_cam]


def test_a_failing_stage_leaves_no_table(checkpoints, study):
    (study / "two.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"two\.png"):
        run_gradcam(study, section("clip", checkpoints))
    assert sorted(path.name for path in study.glob("*.parquet")) == ["expressions.parquet", "images.parquet"]
    assert not list(study.glob(".cams*"))


def test_the_studys_own_matcher_needs_its_folder_and_the_features(study):
    with pytest.raises(UserError, match="source: matcher needs --features and --matcher"):
        run_gradcam(study, {})


def test_a_model_that_is_not_here_ends_the_stage_with_one_line(study):
    config = {"gradcam": {"source": "blip", "model": "nobody/no-such-model"}}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "camground.cli", "gradcam", "--config", json.dumps(config)),
            *("--images", study / "images.parquet", "--output", study / "cams.parquet"),
            *("--expressions", study / "expressions.parquet"),
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nobody/no-such-model" in done.stderr
    assert "give the folder" in done.stderr
    assert not (study / "cams.parquet").exists()


def test_a_new_photograph_gets_its_map_from_that_model(checkpoints, study, tmp_path, monkeypatch):
    from camground.grounder.config import GrounderConfig
    from camground.grounder.grounder import Grounder
    from camground.grounder.model_folder import GroundingSettings, save_model
    from camground.matcher.config import MatcherConfig
    from camground.matcher.matcher import Matcher
    from camground.pipeline import GroundingPipeline
    from camground.study.checkpoints import save_checkpoint
    from camground.training.config import LossesConfig, TrainConfig

    features = FeaturesConfig(backbone=BackboneConfig(image_size=64, grid=4))
    matcher_config = MatcherConfig(width=16)
    matcher = Matcher(matcher_config, Backbone(features.backbone).channels, 384)  # MiniLM's width
    config = GrounderConfig.parse({"transformer": {"grid": 2}})
    grounder = Grounder(matcher, config)
    sections = {"features": features, "matcher": matcher_config, "grounder": config}
    sections |= {"losses": LossesConfig(), "train": TrainConfig()}
    resolved = {name: each.to_dict() for name, each in sections.items()}
    for name, model in (("grounder", grounder), ("matcher", matcher)):
        save_checkpoint(tmp_path / name, model.state_dict(), resolved)
    size = {"image_size": [32, 48]}
    settings = {"proposals": {}, "gradcam": section("clip", checkpoints, **size), "predict": {}}
    folder = save_model(
        *(tmp_path / "grounder", tmp_path / "matcher", some_calibration(tmp_path)),
        *(GroundingSettings.parse(settings), tmp_path / "model"),
    )
    shown = []
    forward = Grounder.forward

    def spy(self, *inputs, **named):
        shown.append(inputs[5])
        return forward(self, *inputs, **named)

    monkeypatch.setattr(Grounder, "forward", spy)
    answers = GroundingPipeline.from_pretrained(folder)(study / "one.png", TEXTS[:2])
    assert [answer["label"] for answer in answers] == TEXTS[:2]
    assert np.isfinite([list(answer["box"].values()) for answer in answers]).all()
    with opened("clip", checkpoints, **size) as cam:
        expected = cam(cam.read(study / "one.png").unsqueeze(0), torch.tensor([0, 0]), TEXTS[:2])
    assert shown[0].shape == (2, 4, 6)
    assert np.allclose(shown[0].numpy(), expected, atol=1e-5)


@pytest.mark.workflow
def test_a_pretrained_model_needs_neither_the_matcher_nor_the_features(workflow):
    cams = [f"results/scenes/gradcam/seed{seed}/cams.parquet" for seed in (0, 1)]
    own = workflow.dry(*cams)
    assert own.jobs == {"data": 1, "features": 1, "matcher": 2, "gradcam": 2}, own.text
    # the same for every seed: one pass over the photographs
    other = workflow.dry(*cams, "--config", "gradcam={source: clip, model: some/where}")
    assert other.jobs == {"data": 1, "gradcam": 1, "gradcam_of_seed": 2}, other.text
    refused = workflow.dry(*cams, "--config", "gradcam={source: clip}")
    assert refused.status != 0
    assert "gradcam: source is clip, so set model" in refused.text
