"""Boxes around maps, and what they are as candidates beside the image's proposals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from camground.grounder.grounder import Grounder, GroundingOutput
from camground.grounder.map_boxes import boxes_around, joint_map
from tiny_grounder import COUNT, OFF, PAIRS, forward, tiny_grounder, tiny_inputs


def test_boxes_around_fit_the_thresholded_map() -> None:
    maps = torch.zeros(2, 16, 16)
    maps[0, 4:8, 2:10] = 1.0
    maps[0, 12, 12] = 0.9  # a smaller part elsewhere
    boxes = boxes_around(maps, [0.3, 0.5])
    assert boxes.shape == (2, 2, 4)
    assert boxes[0, 1].numpy() == pytest.approx(np.array([2, 4, 10, 8]) / 16, abs=1 / 32)
    assert boxes[1].tolist() == [[0, 0, 1, 1]] * 2


def test_the_joint_map_leaves_out_what_is_not_known() -> None:
    own_cam, matcher_cam = torch.rand(2, 4, 4) * 9, torch.rand(2, 4, 4)
    joint = joint_map(own_cam, matcher_cam, torch.tensor([True, False]))
    scaled = own_cam / own_cam.amax((1, 2), keepdim=True)
    assert torch.allclose(joint[0], scaled[0] + matcher_cam[0])
    assert torch.allclose(joint[1], scaled[1])


def test_maps_of_two_grids_are_joined_on_the_finer_one() -> None:
    known = torch.tensor([True])
    joint = joint_map(torch.ones(1, 4, 8), torch.ones(1, 7, 7), known)
    assert joint.shape == (1, 7, 8)
    assert torch.allclose(joint, torch.full((1, 7, 8), 2.0))


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


def with_known_cams(model: Grounder, known: Sequence[bool]) -> GroundingOutput:
    inputs = tiny_inputs()
    arguments = (inputs.features, inputs.proposals, inputs.tokens, inputs.mask)
    cam = torch.nn.functional.interpolate(inputs.cam.unsqueeze(1), (11, 11)).squeeze(1)
    output: GroundingOutput = model(*arguments, torch.arange(PAIRS), cam, torch.tensor(list(known)))
    return output


def test_without_the_cam_encoder_the_boxes_know_nothing_of_the_matchers_map() -> None:
    for model, depends in (
        (tiny_grounder(map_boxes=[0.5], cam_encoder=OFF), False),
        (tiny_grounder(map_boxes=[0.5]), True),
    ):
        known, unknown = (with_known_cams(model, [value] * PAIRS) for value in (True, False))
        assert torch.equal(known.candidates.boxes, unknown.candidates.boxes) != depends


def test_scores_of_the_boxes_of_the_map_train_the_grounder() -> None:
    model = tiny_grounder(map_boxes=[0.5])
    output = forward(model, tiny_inputs())
    output.scores.masked_fill(~output.candidates.valid, 0)[:, -1].sum().backward()
    assert model.region.weight.grad is not None
    assert model.region.weight.grad.any()
