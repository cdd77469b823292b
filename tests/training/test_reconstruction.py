"""Reconstruction of the expression: the attention has to fall on the proposal that carries it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from camground.features.language import text_vectors
from camground.training.reconstruction import Reconstruction


def orthogonal() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four pairs of three proposals, of which the second carries the text's own vector: regions, valid,
    target and text ids."""
    target = torch.eye(4)
    regions = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))
    regions[:, 1] = target
    return regions, torch.ones(4, 3, dtype=torch.bool), target, torch.arange(4)


def reconstruction(decoder: nn.Module | None = None) -> Reconstruction:
    """The loss with a perfect decoder, or another."""
    loss = Reconstruction(4, 4)
    loss.decoder = decoder or nn.Identity()  # type: ignore[assignment]
    return loss


def test_a_perfect_decoder_has_a_low_loss_where_the_attention_is_right() -> None:
    regions, *rest = orthogonal()
    right, wrong = torch.zeros(2, 4, 3)
    right[:, 1], wrong[:, 0] = 20.0, 20.0
    assert reconstruction()(right, regions, *rest) < 1e-4
    assert reconstruction()(wrong, regions, *rest) > 0.5


def test_the_gradient_moves_the_scores_to_the_proposal_that_carries_the_text() -> None:
    regions, *rest = orthogonal()
    scores = torch.zeros(4, 3, requires_grad=True)
    reconstruction()(scores, regions, *rest).backward()
    assert scores.grad is not None
    assert (scores.grad[:, 1] < 0).all()
    # and descent ends there
    optimiser = torch.optim.SGD([scores], lr=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        reconstruction()(scores, regions, *rest).backward()
        optimiser.step()
    assert (scores.argmax(1) == 1).all()


def test_a_decoder_that_gives_the_same_for_all_gains_nothing() -> None:
    regions, valid, target, ids = orthogonal()

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return target.mean(0).expand(len(x), 4)

    loss = reconstruction(Mean())(torch.zeros(4, 3), regions, valid, target, ids)
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-5)


def test_equal_texts_are_no_negatives_and_invalid_proposals_no_evidence() -> None:
    regions, valid, target, ids = orthogonal()
    loss, scores = reconstruction(), torch.zeros(4, 3)
    assert loss(scores, regions, valid, target, torch.zeros(4, dtype=torch.long)) == 0
    only = torch.zeros(4, 3, dtype=torch.bool)
    only[:, 1] = True
    scores = scores.masked_fill(~only, -torch.inf)
    assert loss(scores, regions, only, target, ids) < 1e-4
    # a pair without proposals is left out, and makes no gradient a nan
    only[0] = False
    scores = torch.zeros(4, 3).masked_fill(~only, -torch.inf).requires_grad_()
    value = loss(scores, regions, only, target, ids)
    value.backward()
    assert torch.isfinite(value)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert loss(scores, regions, torch.zeros(4, 3, dtype=torch.bool), target, ids) == 0


def test_text_vectors_pass_over_padding() -> None:
    tokens = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [9.0, -9.0]]])
    mask = torch.tensor([[True, True, False]])
    assert torch.allclose(text_vectors(tokens, mask), torch.full((1, 2), 0.5**0.5))
