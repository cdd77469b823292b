"""Box voting."""

import pytest
import torch

from camground.grounder.box_voting import VotingConfig, vote
from camground.grounder.regions import Proposals
from camground.study.errors import UserError


def given():
    boxes = torch.tensor([[[0.0, 0, 0.4, 0.4], [0.0, 0, 0.4, 0.6], [0.6, 0.6, 1, 1]]])
    scores = torch.log(torch.tensor([[3.0, 1.0, 2.0]]))
    return Proposals(boxes, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)), scores


def test_without_voting_the_best_box_is_the_answer():
    proposals, scores = given()
    assert vote(VotingConfig(), proposals, scores, 3)[0].tolist() == pytest.approx([0, 0, 0.4, 0.4])


def test_boxes_that_overlap_the_best_vote_by_their_scores():
    proposals, scores = given()
    found = vote(VotingConfig(iou=0.5), proposals, scores, 3)
    assert found[0].tolist() == pytest.approx([0, 0, 0.4, 0.75 * 0.4 + 0.25 * 0.6])
    equal = vote(VotingConfig(iou=0.5, temperature=1e6), proposals, scores, 3)
    assert equal[0].tolist() == pytest.approx([0, 0, 0.4, 0.5], abs=1e-4)


def test_padding_has_no_vote():
    proposals, scores = given()
    proposals.valid[0, 1], scores[0, 1] = False, -torch.inf
    found = vote(VotingConfig(iou=0.5, temperature=5), proposals, scores, 3)
    assert found[0].tolist() == pytest.approx([0, 0, 0.4, 0.4])
    nothing = vote(VotingConfig(iou=0.5), proposals, torch.full_like(scores, -torch.inf), 3)
    assert nothing.isfinite().all()


def test_boxes_of_the_map_vote_by_their_weight():
    proposals, scores = given()
    config = VotingConfig(iou=0.5, map_weight=0.25)
    found = vote(config, proposals, scores, 1)  # the second box is of the map: 3 against 1 * 0.25
    share = 0.25 / 3.25
    assert found[0].tolist() == pytest.approx([0, 0, 0.4, (1 - share) * 0.4 + share * 0.6])


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(UserError, match="map_weight"):
        VotingConfig(map_weight=0.0)
