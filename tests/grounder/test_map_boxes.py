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
    more = forward(tiny_grounder(), inputs, map_boxes=[0.4, 0.6])
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
        model = tiny_grounder(**changes)
        shown, withheld = (forward(model, inputs, show, map_boxes=[0.5]) for show in (True, False))
        assert torch.equal(shown.candidates.boxes, withheld.candidates.boxes)
        own = boxes_around(shown.own_cam, [0.5])
        assert own.any()
        assert torch.equal(shown.candidates.boxes[:, COUNT:], own)


def test_the_own_map_is_drawn_where_its_boxes_are_asked_for() -> None:
    """Also where nothing else reads it: a model of regions alone, of which mining asks no map."""
    model, inputs = tiny_grounder(regions_only=True), tiny_inputs()
    assert forward(model, inputs, order="none").own_cam is None
    output = forward(model, inputs, order="none", map_boxes=[0.5])
    assert output.scores.shape == (PAIRS, COUNT + 1)
    assert torch.equal(output.candidates.boxes[:, COUNT:], boxes_around(output.own_cam, [0.5]))
