"""The teacher that the matcher's CAM makes, and its distillation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camground.grounder.batches import CamTable
from camground.grounder.regions import Labels, Proposals
from camground.matcher.maps import to_bytes
from camground.study import tables
from camground.study.errors import UserError
from camground.training.config import DistillationConfig
from camground.training.distillation import contrast, distillation, ranking, teacher

BOXES = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.6, 0.6, 0.9, 0.9]]])
VALID = torch.ones(1, 3, dtype=torch.bool)


def spot() -> torch.Tensor:
    """A map that fills the first box."""
    cam = torch.zeros(1, 8, 8)
    cam[0, 2:4, 2:4] = 1.0
    return cam


def test_ranking_is_the_formula_and_the_teacher_follows_the_map() -> None:
    cam = spot()
    assert torch.allclose(ranking(cam, BOXES, VALID), torch.tensor([[1.0, 0.25, 0.0]]), atol=1e-5)
    assert contrast(cam, BOXES, VALID).argmax() == 0
    assert (contrast(torch.zeros(1, 8, 8), BOXES, VALID) == 0).all()
    proposals = Proposals(BOXES, torch.zeros(1, 3), VALID)
    target = teacher(DistillationConfig(), cam, BOXES[:, :1], proposals)
    assert target.sum() == pytest.approx(1)
    assert target.argmax() == 0


@pytest.mark.parametrize("key", ["contrast", "ranking", "box", "objectness"])
def test_each_weight_of_the_teacher_counts(key: str) -> None:
    off = {"contrast": 0.0, "ranking": 0.0, "box": 0.0, "objectness": 0.0}
    proposals = Proposals(BOXES, torch.tensor([[0.2, 0.1, 0.1]]), VALID)
    even = teacher(DistillationConfig.parse(off), spot(), BOXES[:, :1], proposals)
    assert torch.allclose(even, torch.full((1, 3), 1 / 3))
    target = teacher(DistillationConfig.parse({**off, key: 1.0}), spot(), BOXES[:, :1], proposals)
    assert target.argmax() == 0
    assert target[0, 0] > 0.34


def test_the_teacher_believes_labels_where_it_is_told_to() -> None:
    """The third box is labelled with what the text says; the second shares a little with it."""
    index, vectors = torch.tensor([[-1, -1, 0]]), torch.eye(2)
    labels = Labels.of(BOXES, torch.full((1, 3), 0.5), index, vectors)
    plain = Proposals(BOXES, torch.zeros(1, 3), VALID)
    off = {"contrast": 0.0, "ranking": 0.0, "box": 0.0, "objectness": 0.0, "temperature": 1.0}
    text = torch.tensor([[0.8, 0.6]])
    config = DistillationConfig.parse({**off, "label": 2.0})
    target = teacher(config, spot(), BOXES[:, :1], replace(plain, labels=labels), text)
    evidence = 2.0 * 0.5 * 0.8 * torch.tensor([[0.0, 0.09**2, 1.0]])
    assert torch.allclose(target, evidence.softmax(-1), atol=1e-5)
    even = torch.full((1, 3), 1 / 3)
    unread = teacher(DistillationConfig.parse(off), spot(), BOXES[:, :1], replace(plain, labels=labels), text)
    assert torch.allclose(unread, even)
    assert torch.allclose(teacher(config, spot(), BOXES[:, :1], plain, text), even)


def test_the_fit_is_the_mean_over_the_boxes_around_the_map() -> None:
    """Neither the box of one threshold nor the best of them."""
    config = DistillationConfig(box=2.0, contrast=0.0, ranking=0.0, objectness=0.0, temperature=0.5)
    proposals = Proposals(BOXES, torch.zeros(1, 3), VALID)
    # of IoU with the three proposals: 1, 1/16, 0, and 1/16, 1, 0.09, and 0, 0.04, 0
    cam_boxes = torch.tensor([[BOXES[0, 0].tolist(), BOXES[0, 1].tolist(), [0.0, 0.8, 0.2, 1.0]]])
    target = teacher(config, spot(), cam_boxes, proposals)
    fit = torch.tensor([[1 + 1 / 16 + 0, 1 / 16 + 1 + 0.04, 0 + 0.09 + 0]]) / 3
    assert torch.allclose(target, (2 * fit / 0.5).softmax(-1), atol=1e-5)
    assert torch.allclose(teacher(config, spot(), cam_boxes.flip(1), proposals), target)


def test_padding_has_no_share_of_the_teacher() -> None:
    valid = torch.tensor([[True, True, False]])
    proposals = Proposals(BOXES, torch.tensor([[0.0, 0.0, 9.0]]), valid)
    target = teacher(DistillationConfig(ranking=1.0), spot(), BOXES[:, 2:], proposals)
    assert torch.isfinite(target).all()
    assert target[0, 2] == 0
    assert target.sum() == pytest.approx(1)
    nothing = Proposals(BOXES, torch.zeros(1, 3), ~VALID)
    target = teacher(DistillationConfig(), spot(), BOXES[:, :1], nothing)
    assert torch.allclose(target, torch.full((1, 3), 1 / 3))


def test_distillation_is_zero_for_the_teachers_own_scores_alone() -> None:
    proposals = Proposals(BOXES, torch.zeros(1, 3), VALID)
    target = teacher(DistillationConfig(), spot(), BOXES[:, :1], proposals)
    taught = torch.ones(1, dtype=torch.bool)
    perfect = distillation(target.log(), target, VALID, taught)
    assert perfect == pytest.approx(0, abs=1e-5)
    assert distillation(torch.zeros(1, 3), target, VALID, taught) > perfect


@pytest.mark.parametrize("what", ["unknown", "all zero"])
def test_a_cam_that_says_nothing_teaches_nothing(tmp_path: Path, what: str) -> None:
    """It taught "the whole image", with .986 of the teacher's mass."""
    known = {"expression_id": "a", "height": 8, "width": 8, "map": to_bytes(spot()[0].numpy()), "source": "x"}
    zeros = {**known, "expression_id": "b", "map": bytes(64)}
    tables.write("cams", [known, zeros] if what == "all zero" else [known], tmp_path / "cams.parquet")
    cams, rows = CamTable(tmp_path / "cams.parquet", ["a", "b"], [0.3, 0.5]), np.arange(2)
    objectness = torch.tensor([[0.2, 0.4, 0.1]] * 2)
    proposals = Proposals(BOXES.repeat(2, 1, 1), objectness, VALID.repeat(2, 1))
    target = teacher(DistillationConfig(), cams.take(rows), torch.from_numpy(cams.boxes), proposals)
    assert target[1, 1] < 0.7
    scores = torch.randn(2, 3, requires_grad=True)
    taught = torch.from_numpy(cams.has_cam)
    loss = distillation(scores, target, proposals.valid, taught)
    loss.backward()
    assert scores.grad is not None
    assert scores.grad[0].any()
    assert not scores.grad[1].any()
    # nor does it thin out what the other teaches
    assert loss == distillation(scores[:1], target[:1], proposals.valid[:1], taught[:1])
    assert distillation(scores[1:], target[1:], proposals.valid[1:], taught[1:]) == 0


def test_a_teacher_without_boxes_around_the_map_is_refused() -> None:
    with pytest.raises(UserError, match="thresholds"):
        DistillationConfig.parse({"thresholds": []})
