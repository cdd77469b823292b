"""Box voting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from camground.grounder.config import VotingConfig
from camground.grounder.read_out import read_out
from camground.grounder.regions import Proposals
from camground.study.errors import UserError

ALONE = VotingConfig(iou=1.0)


def candidates() -> tuple[Proposals, Tensor]:
    """Three boxes, of which the first two overlap, and their scores."""
    boxes = torch.tensor([[[0.0, 0, 0.4, 0.4], [0.0, 0, 0.4, 0.6], [0.6, 0.6, 1, 1]]])
    scores = torch.log(torch.tensor([[3.0, 1.0, 2.0]]))
    return Proposals(boxes, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)), scores


def config(**changes: float) -> VotingConfig:
    return VotingConfig(**{"iou": 0.5, "temperature": 1.0, "map_weight": 1.0, **changes})


def test_without_voting_the_best_box_is_the_answer() -> None:
    proposals, scores = candidates()
    assert read_out(ALONE, proposals, scores, 3)[0].tolist() == pytest.approx([0, 0, 0.4, 0.4])


def test_boxes_that_overlap_the_best_vote_by_their_scores() -> None:
    proposals, scores = candidates()
    box = read_out(config(), proposals, scores, 3)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, 0.75 * 0.4 + 0.25 * 0.6])
    equal = read_out(config(temperature=1e6), proposals, scores, 3)
    assert equal[0].tolist() == pytest.approx([0, 0, 0.4, 0.5], abs=1e-4)


def test_padding_has_no_vote() -> None:
    proposals, scores = candidates()
    proposals.valid[0, 1], scores[0, 1] = False, -torch.inf
    box = read_out(config(temperature=5), proposals, scores, 3)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, 0.4])
    nothing = read_out(config(), proposals, torch.full_like(scores, -torch.inf), 3)
    assert nothing.isfinite().all()


def test_boxes_of_the_map_vote_by_their_weight() -> None:
    proposals, scores = candidates()
    # the second box is of the map: 3 against 1 * 0.25
    box = read_out(config(map_weight=0.25), proposals, scores, 1)
    share = 0.25 / 3.25
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, (1 - share) * 0.4 + share * 0.6])


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="map_weight"):
        VotingConfig.parse({"map_weight": 0.0})
