"""Box voting."""

from __future__ import annotations

from dataclasses import replace

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
    return Proposals(boxes, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)), torch.tensor([[3.0, 1, 2]])


def config(**changes: float) -> VotingConfig:
    return VotingConfig(**{"iou": 0.5, "decay": 0.5, "map_weight": 1.0, **changes})


def test_without_voting_the_best_box_is_the_answer() -> None:
    proposals, scores = candidates()
    assert read_out(ALONE, proposals, scores, 3)[0].tolist() == pytest.approx([0, 0, 0.4, 0.4])


def test_boxes_that_overlap_the_best_vote_by_their_rank_among_them() -> None:
    proposals, scores = candidates()
    # the third box scores higher than the second, but is elsewhere: the second is the next
    box = read_out(config(decay=0.25), proposals, scores, 3)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, 0.8 * 0.4 + 0.2 * 0.6])
    equal = read_out(config(decay=1), proposals, scores, 3)
    assert equal[0].tolist() == pytest.approx([0, 0, 0.4, 0.5])
    tied = read_out(config(decay=0.25), proposals, torch.ones(1, 3), 3)
    assert torch.equal(tied, equal)


def test_a_chosen_box_with_a_label_is_not_moved() -> None:
    """A detector's fits; one that is not chosen votes as any other."""
    proposals, scores = candidates()
    voted = read_out(config(), proposals, scores, 3)
    named = replace(proposals, labelled=torch.tensor([[True, False, False]])).extended(proposals.boxes[:, :1])
    more = torch.cat([scores, scores[:, 2:]], 1)
    assert torch.equal(read_out(config(), named, more, 3)[0], proposals.boxes[0, 0])
    assert not torch.equal(voted[0], proposals.boxes[0, 0])
    other = replace(proposals, labelled=torch.tensor([[False, True, False]]))
    assert torch.equal(read_out(config(), other, scores, 3), voted)
    both = other.take(torch.tensor([0, 0])).to(torch.device("cpu"))
    highest = torch.stack([scores[0], scores[0].flip(0)])
    assert read_out(config(), both, highest, 3)[0].tolist() == voted[0].tolist()


def test_the_scale_of_the_scores_does_not_matter() -> None:
    """Methods whose scores spread differently are read out alike."""
    draw = torch.Generator().manual_seed(0)
    corners = torch.rand(50, 12, 2, generator=draw, dtype=torch.float64) * 0.4
    sides = 0.2 + torch.rand(50, 12, 2, generator=draw, dtype=torch.float64) * 0.3
    boxes = torch.cat([corners, corners + sides], -1)
    valid = torch.rand(50, 12, generator=draw) < 0.9
    proposals = Proposals(boxes, torch.ones(50, 12), valid)
    scores = torch.randn(50, 12, generator=draw, dtype=torch.float64).masked_fill(~valid, -torch.inf)
    voting = config(iou=0.3, map_weight=0.1)
    box = read_out(voting, proposals, scores, 10)
    assert not torch.equal(box, read_out(ALONE, proposals, scores, 10))
    for changed in (scores + 7, scores * 10, scores / 10, scores.exp()):
        assert torch.equal(read_out(voting, proposals, changed, 10), box)


def test_the_order_of_the_candidates_does_not_matter() -> None:
    proposals, scores = candidates()
    turned = torch.tensor([2, 1, 0])
    other = Proposals(proposals.boxes[:, turned], proposals.objectness, proposals.valid)
    box = read_out(config(), other, scores[:, turned], 3)
    assert torch.allclose(box, read_out(config(), proposals, scores, 3))


def test_padding_has_no_vote() -> None:
    proposals, scores = candidates()
    proposals.valid[0, 1], scores[0, 1] = False, -torch.inf
    box = read_out(config(decay=1), proposals, scores, 3)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, 0.4])
    nothing = read_out(config(), proposals, torch.full_like(scores, -torch.inf), 3)
    assert nothing.isfinite().all()


def test_boxes_of_the_map_vote_by_their_weight() -> None:
    proposals, scores = candidates()
    # the second box is of the map, and the first of its kind: 1 against 0.25
    box = read_out(config(map_weight=0.25), proposals, scores, 1)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, 0.8 * 0.4 + 0.2 * 0.6])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_boxes_of_the_map_that_score_highest_leave_the_proposals_their_say(count: int) -> None:
    """Ranks are counted among proposals and among boxes of maps apart, however many there are."""
    best, other, elsewhere, of_map = (
        *([0.0, 0, 0.4, 0.4], [0.0, 0, 0.4, 0.5], [0.6, 0.6, 1, 1]),
        [0.0, 0, 0.4, 0.6],
    )
    boxes = torch.tensor([[other, best, elsewhere, *[of_map] * count]])
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
    # the proposal elsewhere scores higher than those near, and has no vote
    scores = torch.tensor([[1.0, 2, 3, *range(4, 4 + count)]])
    box = read_out(
        config(iou=0.6, map_weight=0.25), Proposals(boxes, torch.ones_like(scores), valid), scores, 3
    )
    of_maps = 0.25 * sum(0.5**rank for rank in range(count))
    bottom = (1 * 0.4 + 0.5 * 0.5 + of_maps * 0.6) / (1 + 0.5 + of_maps)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, bottom])


def test_proposals_that_score_highest_leave_the_box_of_the_map_its_say() -> None:
    boxes = torch.tensor([[[0.0, 0, 0.4, 0.4], [0.0, 0, 0.4, 0.4], [0.0, 0, 0.4, 0.6]]])
    proposals = Proposals(boxes, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool))
    box = read_out(config(map_weight=0.25), proposals, torch.tensor([[3.0, 2, 1]]), 2)
    assert box[0].tolist() == pytest.approx([0, 0, 0.4, (1.5 * 0.4 + 0.25 * 0.6) / 1.75])


@pytest.mark.parametrize("key", ["map_weight", "decay"])
def test_a_weight_of_nothing_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=key):
        VotingConfig.parse({key: 0.0})
