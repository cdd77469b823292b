"""Boxes around maps, and what they are as candidates beside the image's proposals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from camground.grounder.map_boxes import boxes_around
from tiny_grounder import COUNT, OFF, PAIRS, forward, tiny_grounder, tiny_inputs


def test_boxes_around_fit_the_thresholded_map() -> None:
    maps = torch.zeros(2, 16, 16)
    maps[0, 4:8, 2:10] = 1.0
    maps[0, 12, 12] = 0.9  # a smaller part elsewhere
    boxes = boxes_around(maps, [0.3, 0.5])
    assert boxes.shape == (2, 2, 4)
    assert boxes[0, 1].numpy() == pytest.approx(np.array([2, 4, 10, 8]) / 16, abs=1 / 32)
    assert not boxes[1].any()


def test_boxes_of_the_map_are_candidates_behind_the_images_proposals() -> None:
    inputs = tiny_inputs()
    plain = forward(tiny_grounder(), inputs)
    more = forward(tiny_grounder(map_boxes=[0.4, 0.6]), inputs)
    assert plain.scores.shape == (PAIRS, COUNT)
    assert more.scores.shape == more.candidates.valid.shape == (PAIRS, COUNT + 2)
    assert more.regions.shape[:2] == (PAIRS, COUNT + 2)
    assert more.proposal_count == plain.proposal_count == COUNT
    assert torch.equal(more.candidates.boxes[:, :COUNT], plain.candidates.boxes)
    assert more.scores.isfinite().all()
    # the image score and its map, which attention mining is about, know nothing of them
    assert torch.allclose(more.own_cam, plain.own_cam)
    assert torch.allclose(more.image_score.logit, plain.image_score.logit)


def test_a_map_of_zeros_is_no_candidate() -> None:
    inputs = tiny_inputs()
    candidates = inputs.proposals.extended(boxes_around(torch.zeros(PAIRS, 8, 8), [0.5]).double())
    assert candidates.valid.sum(1).tolist() == [COUNT] * PAIRS


def test_the_boxes_are_of_the_own_map_alone() -> None:
    """The matcher's says nothing of them: without the CAM encoder a model lacks the encoder and no more."""
    inputs = tiny_inputs()
    for changes in ({}, {"cam_encoder": OFF}):
        model = tiny_grounder(map_boxes=[0.5], **changes)
        shown, withheld = (forward(model, inputs, show) for show in (True, False))
        assert torch.equal(shown.candidates.boxes, withheld.candidates.boxes)
        own = boxes_around(shown.own_cam, [0.5])
        assert torch.equal(shown.candidates.boxes[:, COUNT:], own)


def test_scores_of_the_boxes_of_the_map_train_the_grounder() -> None:
    model = tiny_grounder(map_boxes=[0.5])
    output = forward(model, tiny_inputs())
    output.scores.masked_fill(~output.candidates.valid, 0)[:, -1].sum().backward()
    assert model.region.weight.grad is not None
    assert model.region.weight.grad.any()
