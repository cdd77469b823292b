"""The second look: boxes of the model's own map among the proposals."""

import numpy as np
import pytest
import torch
from test_grounder import PAIRS, make_inputs, make_model

from camground.grounder.cam_encoder import CamEncoderConfig
from camground.grounder.own_boxes import boxes_around, joint_map, look_twice


def look(model, known=None, order="none"):
    features, proposals, tokens, mask, cam = make_inputs()
    seen = model.see(features, proposals)
    known = torch.ones(PAIRS, dtype=torch.bool) if known is None else known
    shown = torch.nn.functional.interpolate(cam.unsqueeze(1), seen.map.shape[-2:]).squeeze(1)
    return look_twice(model, seen, model.read(tokens, mask), shown, known, order), seen


def test_boxes_around_fit_the_thresholded_map():
    maps = torch.zeros(2, 16, 16)
    maps[0, 4:8, 2:10] = 1.0
    maps[0, 12, 12] = 0.9  # a smaller part elsewhere
    boxes = boxes_around(maps, [0.3, 0.5])
    assert boxes.shape == (2, 2, 4)
    assert boxes[0, 1].numpy() == pytest.approx(np.array([2, 4, 10, 8]) / 16, abs=1 / 32)
    assert boxes[1].tolist() == [[0, 0, 1, 1]] * 2


def test_the_joint_map_leaves_out_what_is_not_shown():
    own, shown = torch.rand(2, 4, 4) * 9, torch.rand(2, 4, 4)
    joint = joint_map(own, shown, torch.tensor([True, False]))
    scaled = own / own.amax((1, 2), keepdim=True)
    assert torch.allclose(joint[0], scaled[0] + shown[0])
    assert torch.allclose(joint[1], scaled[1])
    assert torch.equal(joint_map(own, None, torch.tensor([True, True])), scaled)


def test_the_boxes_of_the_map_are_proposals_of_their_expression():
    one, seen = look(make_model())
    two, _ = look(make_model(map_boxes=[0.4, 0.6]))
    count = seen.proposals.boxes.shape[1]
    assert one.scores.shape == (PAIRS, count)
    assert two.scores.shape == (PAIRS, count + 2)
    assert torch.equal(two.proposals.boxes[:, :count], one.proposals.boxes)
    # the first look, whose image score and map attention mining is about, knows nothing of the second
    assert torch.allclose(two.cam, one.cam)
    assert torch.allclose(two.first.image_logit, one.first.image_logit)
    assert two.scores[:, count:].isfinite().all()


def test_without_the_cam_encoder_the_boxes_know_nothing_of_the_matchers_map():
    model = make_model(map_boxes=[0.5], cam_encoder=CamEncoderConfig(enabled=False))
    known, unknown = (look(model, torch.full((PAIRS,), there))[0] for there in (True, False))
    assert torch.equal(known.proposals.boxes, unknown.proposals.boxes)
    model = make_model(map_boxes=[0.5])
    known, unknown = (look(model, torch.full((PAIRS,), there))[0] for there in (True, False))
    assert not torch.equal(known.proposals.boxes, unknown.proposals.boxes)


def test_the_second_look_trains_the_scores():
    model = make_model(map_boxes=[0.5])
    looked, _ = look(model)
    valid = looked.proposals.valid
    looked.scores.masked_fill(~valid, 0)[:, -1].sum().backward()
    assert model.region.weight.grad.any()
