"""The control CAMs: what the encoder is shown, that it is always the same, and that the teacher is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_attention_mining import loaded
from test_grounder import make_model

from camground.data.pairs import Batch
from camground.grounder import cam_control
from camground.grounder.batch_grounding import ground_batch
from camground.grounder.batches import GroundingData, Loaded
from camground.grounder.box_voting import VotingConfig, vote
from camground.grounder.cam_encoder import CONTROLS, CamEncoderConfig
from camground.grounder.grounder import GrounderConfig
from camground.grounder.regions import Proposals
from camground.study import tables
from camground.study.errors import UserError
from camground.study.sections import parse
from camground.training.objective import LossesConfig, Objective

IMAGES, PER_IMAGE, SIDE = 5, 3, 8
COUNT = IMAGES * PER_IMAGE


class Store:
    """Stands for the feature cache."""

    def images(self, rows: np.ndarray) -> torch.Tensor:
        return torch.zeros(len(rows), 2, SIDE, SIDE)

    def texts(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(texts), 1, 4), torch.ones(len(texts), 1, dtype=torch.bool)


class NoProposals:
    def take(self, rows: np.ndarray) -> Proposals:
        one = torch.zeros(len(rows), 1)
        return Proposals(torch.zeros(len(rows), 1, 4), one, one.bool())


def load(tmp_path: Path, control: str, absent: tuple[int, ...] = ()) -> Loaded:
    """All expressions in one batch; the first cell of the CAM of expression i says i + 1."""
    rng = np.random.default_rng(0)
    cams = (rng.random((COUNT, SIDE, SIDE)) * 255).astype(np.uint8)
    cams[np.arange(COUNT), 0, 0] = np.arange(COUNT) + 1
    rows = [
        {
            "expression_id": f"e{i}",
            "height": SIDE,
            "width": SIDE,
            "map": cams[i].tobytes(),
            "source": "x",
        }
        for i in range(COUNT)
        if i not in absent
    ]
    tables.write("cams", rows, tmp_path / "cams.parquet")
    images = np.repeat(np.arange(IMAGES), PER_IMAGE)
    pairs = SimpleNamespace(
        texts=["a"] * COUNT,
        expression_ids=[f"e{i}" for i in range(COUNT)],
        image_rows=images,
        text_ids=np.zeros(COUNT, dtype=int),
        swaps=SimpleNamespace(texts=[], ids=[], false=np.zeros(0, dtype=bool)),
    )
    data = GroundingData(
        pairs, Store(), NoProposals(), tmp_path / "cams.parquet", 0.5, control=control
    )
    batch = Batch(np.arange(IMAGES), np.arange(COUNT), images, np.full(COUNT, -1))
    return data.load(batch, torch.device("cpu"))


@pytest.mark.parametrize("control", CONTROLS)
def test_the_own_cam_and_its_box_stay_as_they_are(tmp_path: Path, control: str) -> None:
    plain, batch = load(tmp_path, "none"), load(tmp_path, control)
    assert torch.equal(plain.shown_cam, plain.cam)
    assert torch.equal(batch.cam, plain.cam)
    assert torch.equal(batch.cam_box, plain.cam_box)
    assert torch.equal(batch.cam_known, plain.cam_known)
    assert batch.shown_cam.shape == plain.cam.shape
    assert torch.equal(batch.shown_cam, plain.cam) == (control == "none")


def test_shuffled_shows_each_cam_once_to_another_image_and_always_the_same(tmp_path: Path) -> None:
    batch = load(tmp_path, "shuffled")
    whose = (batch.shown_cam[:, 0, 0] * 255).round().long() - 1
    assert torch.equal(batch.shown_cam, batch.cam[whose])
    assert sorted(whose.tolist()) == list(range(COUNT))
    assert (whose // PER_IMAGE != torch.arange(COUNT) // PER_IMAGE).all()
    torch.manual_seed(5)  # the seed of a training has no say
    assert torch.equal(load(tmp_path, "shuffled").shown_cam, batch.shown_cam)


def test_shuffling_is_random_and_passes_over_missing_cams(tmp_path: Path) -> None:
    batch = load(tmp_path, "shuffled", absent=(0, 7))
    assert batch.cam_known.tolist() == [i not in (0, 7) for i in range(COUNT)]
    shown = batch.shown_cam.flatten(1).sum(1)
    assert torch.equal(shown > 0, batch.cam_known)
    many = cam_control.partners(np.arange(1000), np.ones(1000, dtype=bool))
    assert (many != np.arange(1000)).all()
    steps = (many - np.arange(1000)) % 1000
    assert len(np.unique(steps)) > 300  # not one shift of the table


def test_partners_of_few() -> None:
    alone = np.array([True])
    with pytest.raises(UserError, match="shuffled needs two expressions"):
        cam_control.partners(np.zeros(1, dtype=int), alone)
    assert cam_control.partners(np.zeros(1, dtype=int), ~alone).tolist() == [0]
    # one image only: another expression of it
    found = cam_control.partners(np.zeros(3, dtype=int), np.ones(3, dtype=bool))
    assert sorted(found) == [0, 1, 2]
    assert (found != np.arange(3)).all()


def test_uniform_and_centre_know_nothing(tmp_path: Path) -> None:
    assert (load(tmp_path, "uniform").shown_cam == 1).all()
    centre = load(tmp_path, "centre").shown_cam
    assert torch.equal(centre, centre[:1].expand_as(centre))
    one = cam_control.fixed_map("centre", 21, 41)
    assert one.max() == one[10, 20] == 1
    assert torch.allclose(one, one.flip(0), atol=1e-6)
    assert torch.allclose(one, one.flip(1), atol=1e-6)
    # a sigma from the middle, which is a quarter of either side
    assert one[10, 20 + 10].item() == pytest.approx(np.exp(-0.5 * (10 / 41 / 0.25) ** 2), rel=1e-4)
    assert one[10 + 5, 20].item() == pytest.approx(np.exp(-0.5 * (5 / 21 / 0.25) ** 2), rel=1e-4)


def distilled(batch: Loaded) -> float:
    """The distillation loss of a model that hears its CAM encoder."""
    torch.manual_seed(0)
    losses = parse(
        LossesConfig,
        {
            "contrastive": 0.0,
            "matching": 0.0,
            "swap_ranking": 0.0,
            "attention_mining": {"weight": 0.0},
        },
    )
    return Objective(make_model(), losses)(batch, 0, 1)["distillation"].item()


def test_the_teacher_reads_the_own_cam_and_the_encoder_the_shown_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from camground.grounder import batch_grounding
    from camground.training import objective

    taught, heard = [], []
    teacher = objective.teacher

    def spy(config, cam, *rest):
        taught.append(cam)
        return teacher(config, cam, *rest)

    monkeypatch.setattr(objective, "teacher", spy)
    batch = loaded()
    control = replace(batch, shown_cam=torch.ones_like(batch.cam))
    plain = distilled(batch)
    assert distilled(control) != pytest.approx(plain)
    assert all(torch.equal(cam, batch.cam) for cam in taught)
    model = make_model()
    model.cam_encoder.register_forward_hook(lambda _, given, __: heard.append(given[0]))
    batch_grounding.ground_batch(model, control)
    assert len(heard) == 1
    assert torch.equal(heard[0], control.shown_cam)


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(UserError, match="'shufled' is none of none, shuffled, uniform, centre"):
        parse(GrounderConfig, {"cam_encoder": {"control": "shufled"}})
    assert CamEncoderConfig().control == "none"


def demo(control: str, enabled: bool = True, map_boxes: tuple[float, ...] = ()):
    """The demo with small random networks in place of the trained ones."""
    from camground.grounder.grounder import Grounder, TransformerConfig
    from camground.matcher.matcher import Matcher, MatcherConfig
    from camground.pipeline import Grounding
    from camground.stages.gradcam import GradcamConfig

    torch.manual_seed(0)
    made = Grounding.__new__(Grounding)
    config = GrounderConfig(
        width=16,
        map_boxes=list(map_boxes),
        cam_encoder=CamEncoderConfig(enabled=enabled, control=control),
        transformer=TransformerConfig(grid=2),
    )
    made.grounder = Grounder(config, 6, 10).eval()
    made.matcher = Matcher(MatcherConfig(width=16, blocks=1), 6, 10).eval()
    made.gradcam, made.threshold = GradcamConfig(), 0.5
    made.voting = VotingConfig(iou=0.1, temperature=2.0)
    features, tokens = torch.rand(1, 6, SIDE, SIDE), torch.rand(2, 3, 10)

    class Backbone(torch.nn.Module):
        config = SimpleNamespace(image_size=16)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return features

    made.backbone = Backbone()
    made.language = lambda texts: (tokens, torch.ones(2, 3, dtype=torch.bool))
    boxes = np.array([[0.0, 0, 10, 10], [10, 10, 30, 30], [0, 0, 40, 40]])
    made._propose = lambda path: (boxes, np.ones(3), np.array([40.0, 40.0]))
    return made


def test_the_demo_with_a_model_of_a_control(tmp_path: Path) -> None:
    from PIL import Image

    photograph = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(photograph)
    scores = {}
    for control in ("none", "uniform", "centre"):
        found = demo(control).ground(photograph, ["a", "b"])
        assert len(found) == 2
        scores[control] = found["score"].tolist()
    assert scores["none"] != scores["uniform"] != scores["centre"]
    with pytest.raises(UserError, match="shuffled shows the CAM of another expression"):
        demo("shuffled").ground(photograph, ["a", "b"])
    # without an encoder nothing is shown
    assert len(demo("shuffled", enabled=False).ground(photograph, ["a", "b"])) == 2


def test_the_demo_answers_with_the_voted_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from camground import pipeline as grounding

    photograph = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(photograph)
    given = []

    def heard(model, batch):
        given.append(ground_batch(model, batch))
        return given[-1]

    monkeypatch.setattr(grounding, "ground_batch", heard)
    found = demo("none", map_boxes=(0.5,)).ground(photograph, ["a", "b"])
    assert given[0].proposals.boxes.shape == (2, 4, 4)
    config = VotingConfig(iou=0.1, temperature=2.0)
    voted = vote(config, given[0].proposals, given[0].scores, 3)
    assert np.allclose(found[["x1", "y1", "x2", "y2"]], voted * 40)
    assert not torch.equal(voted, vote(VotingConfig(), given[0].proposals, given[0].scores, 3))
    assert np.allclose(found["score"], given[0].scores.amax(-1))
