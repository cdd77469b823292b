"""Control CAMs: what the encoder is shown, that it is always the same, and that the teacher's is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from camground.data.pairs import PairBatch, Swaps
from camground.grounder import cam_control
from camground.grounder.batches import GroundingBatch, GroundingData
from camground.grounder.config import CamEncoderConfig, GrounderConfig
from camground.grounder.regions import Proposals
from camground.study import tables
from camground.study.errors import UserError
from camground.training import objective
from camground.training.config import LossesConfig
from tiny_grounder import tiny_batch, tiny_grounder

IMAGES, PER_IMAGE, SIDE = 5, 3, 8
COUNT = IMAGES * PER_IMAGE
CONTROLS = get_args(CamEncoderConfig.model_fields["control"].annotation)


class Store:
    """Stands for the feature cache."""

    def images(self, rows: np.ndarray) -> torch.Tensor:
        return torch.zeros(len(rows), 2, SIDE, SIDE)

    def texts(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(texts), 1, 4), torch.ones(len(texts), 1, dtype=torch.bool)


class NoProposals:
    def take(self, rows: np.ndarray) -> Proposals:
        zeros = torch.zeros(len(rows), 1)
        return Proposals(torch.zeros(len(rows), 1, 4), zeros, zeros.bool())


def load(folder: Path, control: str, absent: tuple[int, ...] = ()) -> GroundingBatch:
    """All expressions in one batch; the first cell of the CAM of expression i is i + 1."""
    rng = np.random.default_rng(0)
    cams = (rng.random((COUNT, SIDE, SIDE)) * 255).astype(np.uint8)
    cams[np.arange(COUNT), 0, 0] = np.arange(COUNT) + 1
    rows = [
        {"expression_id": f"e{i}", "height": SIDE, "width": SIDE, "map": cams[i].tobytes(), "source": "x"}
        for i in range(COUNT)
        if i not in absent
    ]
    tables.write("cams", rows, folder / "cams.parquet")
    images = np.repeat(np.arange(IMAGES), PER_IMAGE)
    nothing = np.zeros(0, dtype=int)
    pairs: Any = SimpleNamespace(
        texts=["a"] * COUNT,
        expression_ids=[f"e{i}" for i in range(COUNT)],
        image_rows=images,
        text_ids=np.zeros(COUNT, dtype=int),
        swaps=Swaps([], [], [], nothing, nothing.astype(bool)),
        side_by_side=lambda batch: np.zeros((len(batch.expressions),) * 2, dtype=bool),
    )
    store: Any = Store()
    proposals: Any = NoProposals()
    data = GroundingData(pairs, store, proposals, folder / "cams.parquet", [0.3, 0.8], control)
    batch = PairBatch(np.arange(IMAGES), np.arange(COUNT), images, np.full(COUNT, -1))
    return data.load(batch, torch.device("cpu"))


@pytest.mark.parametrize("control", CONTROLS)
def test_the_teachers_cam_and_its_boxes_stay_as_they_are(tmp_path: Path, control: str) -> None:
    plain, batch = load(tmp_path, "none"), load(tmp_path, control)
    assert torch.equal(plain.matcher_cam, plain.teacher_cam)
    assert torch.equal(batch.teacher_cam, plain.teacher_cam)
    assert plain.cam_boxes.shape == (COUNT, 2, 4)
    assert plain.cam_boxes.any(-1).all()
    assert torch.equal(batch.cam_boxes, plain.cam_boxes)
    assert torch.equal(batch.has_cam, plain.has_cam)
    assert batch.matcher_cam.shape == plain.teacher_cam.shape
    assert torch.equal(batch.matcher_cam, plain.teacher_cam) == (control == "none")


def test_shuffled_shows_each_cam_once_to_another_image_and_always_the_same(tmp_path: Path) -> None:
    batch = load(tmp_path, "shuffled")
    whose = (batch.matcher_cam[:, 0, 0] * 255).round().long() - 1
    assert torch.equal(batch.matcher_cam, batch.teacher_cam[whose])
    assert sorted(whose.tolist()) == list(range(COUNT))
    assert (whose // PER_IMAGE != torch.arange(COUNT) // PER_IMAGE).all()
    torch.manual_seed(5)  # the seed of a training has no say
    assert torch.equal(load(tmp_path, "shuffled").matcher_cam, batch.matcher_cam)


def test_shuffling_is_random_and_passes_over_missing_cams(tmp_path: Path) -> None:
    batch = load(tmp_path, "shuffled", absent=(0, 7))
    assert batch.has_cam.tolist() == [i not in (0, 7) for i in range(COUNT)]
    mass = batch.matcher_cam.flatten(1).sum(1)
    assert torch.equal(mass > 0, batch.has_cam)
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
    partners = cam_control.partners(np.zeros(3, dtype=int), np.ones(3, dtype=bool))
    assert sorted(partners) == [0, 1, 2]
    assert (partners != np.arange(3)).all()


def test_uniform_and_centre_know_nothing(tmp_path: Path) -> None:
    assert (load(tmp_path, "uniform").matcher_cam == 1).all()
    centres = load(tmp_path, "centre").matcher_cam
    assert torch.equal(centres, centres[:1].expand_as(centres))
    centre = cam_control.fixed_map("centre", 21, 41)
    assert centre.max() == centre[10, 20] == 1
    assert torch.allclose(centre, centre.flip(0), atol=1e-6)
    assert torch.allclose(centre, centre.flip(1), atol=1e-6)
    # a sigma from the middle, which is a quarter of either side
    right, below = centre[10, 20 + 10].item(), centre[10 + 5, 20].item()
    assert right == pytest.approx(np.exp(-0.5 * (10 / 41 / 0.25) ** 2), rel=1e-4)
    assert below == pytest.approx(np.exp(-0.5 * (5 / 21 / 0.25) ** 2), rel=1e-4)


def test_the_teacher_reads_the_own_cam_and_the_encoder_the_shown_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taught, encoded = [], []
    teacher = objective.teacher

    def spy(config: Any, cam: torch.Tensor, *rest: Any) -> torch.Tensor:
        taught.append(cam)
        return teacher(config, cam, *rest)

    monkeypatch.setattr(objective, "teacher", spy)
    model = tiny_grounder()
    assert model.cam_encoder is not None
    model.cam_encoder.register_forward_hook(lambda _, arguments, __: encoded.append(arguments[:2]))
    only = {"contrastive": 0, "matching": 0, "swap_ranking": 0, "attention_mining": {"weight": 0}}
    losses = objective.Objective(model, LossesConfig.parse(only))
    plain = tiny_batch()
    control = replace(plain, matcher_cam=torch.ones_like(plain.matcher_cam))
    values = [losses(batch, 0, 1)["distillation"].item() for batch in (plain, control)]
    assert values[0] != pytest.approx(values[1])
    assert len(taught) == 2
    assert all(torch.equal(cam, plain.teacher_cam) for cam in taught)
    shown = [cam for cam, known in encoded if known.any()]  # it scores without a CAM too
    assert len(shown) == 2
    assert torch.equal(shown[0], plain.matcher_cam)
    assert torch.equal(shown[1], control.matcher_cam)


def test_a_photograph_alone_is_shown_what_the_control_says() -> None:
    cams = torch.rand(2, SIDE, SIDE)
    assert torch.equal(cam_control.shown_alone("none", cams), cams)
    for control in ("uniform", "centre"):
        shown = cam_control.shown_alone(control, cams)
        assert torch.equal(shown[1], cam_control.fixed_map(control, SIDE, SIDE))
        assert shown.shape == cams.shape
    with pytest.raises(UserError, match="shuffled shows the CAM of another expression"):
        cam_control.shown_alone("shuffled", cams)


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(UserError, match=r"grounder\.cam_encoder\.control.*shuffled.*'shufled'"):
        GrounderConfig.parse({"cam_encoder": {"control": "shufled"}}, "grounder")
    assert CamEncoderConfig().control == "none"
