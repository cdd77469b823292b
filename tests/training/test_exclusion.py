"""Two phrases of one caption do not share a box."""

from __future__ import annotations

import math

import pytest
import torch

from camground.grounder.grounder import Grounder
from camground.training.config import LossesConfig
from camground.training.exclusion import FLOOR, exclusion, unlike
from camground.training.objective import Objective
from tiny_grounder import tiny_batch, tiny_config, tiny_matcher

BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 1.0], [0.6, 0.6, 0.9, 0.9]]] * 2)
VALID = torch.ones(2, 3, dtype=torch.bool)
APART = torch.tensor([[False, True], [True, False]])
SURE = 50.0


def sure(*chosen: int) -> torch.Tensor:
    """Scores that believe in one proposal each."""
    return SURE * torch.nn.functional.one_hot(torch.tensor(chosen), 3).float()


def test_it_is_the_squared_iou_of_what_is_believed() -> None:
    assert float(exclusion(sure(0, 0), BOXES, VALID, APART)) == pytest.approx(-math.log(FLOOR))
    # one box lies in the other: half of it
    assert float(exclusion(sure(0, 1), BOXES, VALID, APART)) == pytest.approx(-math.log(1 - 0.25))
    assert float(exclusion(sure(0, 2), BOXES, VALID, APART)) == pytest.approx(0, abs=1e-6)
    even = exclusion(torch.zeros(2, 3), BOXES, VALID, APART)
    assert float(even) == pytest.approx(-math.log(1 - (3 + 2 * 0.25) / 9))


def test_pairs_that_may_share_a_box_and_padding_do_not_count() -> None:
    assert float(exclusion(sure(0, 0), BOXES, VALID, torch.zeros_like(APART))) == 0
    padded = VALID.clone()
    padded[:, 0] = False
    assert float(exclusion(sure(0, 0), BOXES, padded, APART)) < -math.log(FLOOR)


def test_the_beliefs_move_apart() -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.0, 0.0]], requires_grad=True)
    exclusion(scores, BOXES, VALID, APART).backward()
    assert scores.grad is not None
    assert (scores.grad[:, 0] > 0).all()
    assert (scores.grad[:, 2] < 0).all()


def test_alike_phrases_may_share_one() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.9, 0.3], [0.0, 2.0]])
    assert unlike(vectors).tolist() == [[False, False, True], [False, False, True], [True, True, False]]


@pytest.mark.parametrize("owner", [(0, 0, 1), (0, 1, 2)])
def test_it_joins_the_losses_where_an_image_has_two_phrases(owner: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = Grounder(tiny_matcher(), tiny_config()).double().eval()
    batch = tiny_batch(owner)
    with torch.no_grad():
        output = model(*batch.inputs)
        terms = []
        for weight in (0.0, 3.0):
            torch.manual_seed(1)  # of the hard negatives
            losses = LossesConfig.parse({"exclusion": weight}, "losses")
            terms.append(Objective(model, losses).without_mining(batch, output))
    plain, with_it = terms
    assert "exclusion" not in plain
    apart = bool(unlike(output.texts.vector)[0, 1]) and owner[0] == owner[1]
    assert (float(with_it["exclusion"]) > 0) == apart
    assert float(with_it["loss"] - plain["loss"]) == pytest.approx(3 * float(with_it["exclusion"]))
