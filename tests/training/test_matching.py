"""What the grounder learns from pairs and swaps: matching, and the ranking of the object meant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from camground.grounder.batches import GroundingBatch
from camground.grounder.grounder import Grounder
from camground.matcher.matcher import Texts
from camground.training.contrastive import positives
from camground.training.matching import hardest, matching, swap_ranking
from tiny_grounder import late_scores, score_alone, tiny_batch, tiny_grounder

INFINITE = -torch.inf


def softplus(x: float) -> float:
    return torch.tensor(float(x)).exp().log1p().item()


def test_swap_ranking_of_scores_made_by_hand() -> None:
    own = torch.tensor([[50.0, 0.0, 0.0], [0.0, 0.0, INFINITE]])
    swapped = torch.tensor([[48.0, 9.0, -9.0], [1.0, -1.0, INFINITE]])
    valid = own > INFINITE
    # the first row means its first proposal alone; the second means its two alike
    expected = (softplus(-2) + (softplus(1) + softplus(-1)) / 2) / 2
    assert swap_ranking(own, swapped, valid).item() == pytest.approx(expected, abs=1e-5)
    assert swap_ranking(own[1:], own[1:], valid[1:]).item() == pytest.approx(softplus(0), abs=1e-5)


def test_swap_ranking_without_swaps_is_zero() -> None:
    own = torch.zeros(0, 4, requires_grad=True)
    loss = swap_ranking(own, torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool))
    assert loss.shape == ()
    assert loss == 0


def test_swap_ranking_moves_both_texts_apart_and_leaves_padding() -> None:
    own = torch.tensor([[2.0, 0.0, 5.0], [1.0, 1.0, 5.0]], requires_grad=True)
    swapped = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[True, True, False]] * 2)
    masked = (scores.masked_fill(~valid, INFINITE) for scores in (own, swapped))
    swap_ranking(*masked, valid).backward()
    assert own.grad is not None
    assert swapped.grad is not None
    assert (own.grad[:, :2] < 0).all()
    assert torch.allclose(swapped.grad, -own.grad)
    assert (own.grad[:, 2] == 0).all()
    # the gradient is that of the margin, none goes through the belief
    belief = own.detach().masked_fill(~valid, INFINITE).softmax(-1)
    expected = -belief * torch.sigmoid(-own.detach()) / 2
    assert torch.allclose(own.grad, expected, atol=1e-6)


def test_swap_ranking_of_an_image_without_proposals_is_finite() -> None:
    own = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[True] * 3, [False] * 3])
    loss = swap_ranking(*(own.masked_fill(~valid, INFINITE),) * 2, valid)
    loss.backward()
    assert torch.isfinite(loss)
    assert own.grad is not None
    assert torch.isfinite(own.grad).all()


def test_hard_negatives_are_no_positives_unless_there_is_no_other() -> None:
    positive = torch.tensor([[True, False, False], [True, True, True]])
    for _ in range(20):
        image_of_text, text_of_image = hardest(torch.randn(2, 3), positive)
        assert image_of_text.tolist()[1:] == [0, 0]  # of the first text every image is one
        assert text_of_image[0] > 0
    likely = torch.tensor([[0.0, 0.0, 99.0], [0.0, 0.0, 0.0]])
    assert hardest(likely, positive)[1][0] == 2


def matched(batch: GroundingBatch, model: Grounder) -> tuple[Tensor, Tensor]:
    """The matching loss and the swap ranking of a batch, with the same draws each time."""
    images = model.see(model.matcher.trunk(batch.features), batch.proposals)
    texts = model.matcher.read(batch.tokens, batch.mask)
    logits = late_scores(model, images, texts)
    positive = positives(batch.owner, batch.text_ids, len(batch.features))
    own = model.image_score(images.take(batch.owner), texts)
    if batch.swaps is not None:
        texts = Texts.join(texts, model.matcher.read(batch.swaps.tokens, batch.swaps.mask))
    cells = model.all_similarities(images, texts)
    torch.manual_seed(0)
    return matching(model, images, texts, batch.owner, own, logits, positive, cells, batch.swaps)


def test_swaps_are_ranked_against_their_own_expressions() -> None:
    """The ranking of a batch is that of each expression with its swap on its image."""
    model = tiny_grounder()
    batch = tiny_batch(owner=(0, 0, 1), swapped=(1, 2), false=(True, False))
    assert batch.swaps is not None
    images = model.see(model.matcher.trunk(batch.features), batch.proposals)
    each = []
    for number, row in enumerate((1, 2)):
        image = int(batch.owner[row])
        own, swapped = (
            score_alone(model, images, image, model.matcher.read(tokens, mask)).proposal_scores
            for tokens, mask in (
                (batch.tokens[[row]], batch.mask[[row]]),
                (batch.swaps.tokens[[number]], batch.swaps.mask[[number]]),
            )
        )
        each.append(swap_ranking(own, swapped, images.proposals.valid[[image]]))
    _, ranking = matched(batch, model)
    assert torch.allclose(ranking, torch.stack(each).mean(), atol=1e-9)


def test_only_swaps_that_are_false_of_the_image_count_in_matching() -> None:
    model = tiny_grounder()
    without, no_ranking = matched(tiny_batch(), model)
    doubtful, ranking = matched(tiny_batch(swapped=(0, 2), false=(False, False)), model)
    _, false_ranking = matched(tiny_batch(swapped=(0, 2), false=(True, False)), model)
    assert no_ranking == 0
    assert ranking > 0
    assert torch.allclose(without, doubtful)
    assert torch.allclose(ranking, false_ranking)
    # nine pairs, three of them positive, and the false swap as a tenth
    batch = tiny_batch(swapped=(0,), false=(True,))
    assert batch.swaps is not None
    images = model.see(model.matcher.trunk(batch.features), batch.proposals)
    swap = model.matcher.read(batch.swaps.tokens, batch.swaps.mask)
    logit = score_alone(model, images, 0, swap).logit
    expected = (9 * without + functional.softplus(logit[0])) / 10
    assert matched(batch, model)[0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_positives_of_matching_are_the_batchs_own_image_scores() -> None:
    model = tiny_grounder()
    batch = tiny_batch(owner=(0, 0, 0))  # one image: no text has a negative
    images = model.see(model.matcher.trunk(batch.features), batch.proposals)
    own = model.image_score(images.take(batch.owner), model.matcher.read(batch.tokens, batch.mask))
    loss, _ = matched(batch, model)
    assert torch.allclose(loss, functional.softplus(-own.logit).mean())


def test_an_equal_text_of_another_image_is_no_negative() -> None:
    model = tiny_grounder()
    batch = tiny_batch(owner=(0, 1, 2))
    all_alike = replace(batch, text_ids=torch.zeros(3, dtype=torch.long))
    images = model.see(model.matcher.trunk(batch.features), batch.proposals)
    own = model.image_score(images, model.matcher.read(batch.tokens, batch.mask))
    loss, _ = matched(all_alike, model)
    assert torch.allclose(loss, functional.softplus(-own.logit).mean())
    assert not torch.allclose(loss, matched(batch, model)[0])
