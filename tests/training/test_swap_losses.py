"""What the grounder learns from swaps: the ranking of the object meant, and what is false of an image."""

import pytest
import torch
from test_attention_mining import loaded
from test_grounder import make_model

from camground.study.sections import parse
from camground.training import objective as objectives
from camground.training.contrastive import positives
from camground.training.distillation import object_belief
from camground.training.matching import match, swap_ranking
from camground.training.objective import LossesConfig, Objective

INFINITE = -torch.inf


def softplus(x):
    return torch.tensor(float(x)).exp().log1p().item()


def test_swap_ranking_of_scores_made_by_hand():
    own = torch.tensor([[50.0, 0.0, 0.0], [0.0, 0.0, INFINITE]])
    swapped = torch.tensor([[48.0, 9.0, -9.0], [1.0, -1.0, INFINITE]])
    valid = own > INFINITE
    # the first row means its first proposal alone; the second means its two alike
    expected = (softplus(-2) + (softplus(1) + softplus(-1)) / 2) / 2
    assert swap_ranking(own, swapped, valid).item() == pytest.approx(expected, abs=1e-5)
    assert swap_ranking(own[1:], own[1:], valid[1:]).item() == pytest.approx(softplus(0), abs=1e-5)


def test_swap_ranking_without_swaps_is_zero():
    own = torch.zeros(0, 4, requires_grad=True)
    found = swap_ranking(own, torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool))
    assert found.shape == ()
    assert found == 0


def test_swap_ranking_moves_both_texts_apart_and_leaves_padding():
    own = torch.tensor([[2.0, 0.0, 5.0], [1.0, 1.0, 5.0]], requires_grad=True)
    swapped = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[True, True, False]] * 2)
    masked = (scores.masked_fill(~valid, INFINITE) for scores in (own, swapped))
    swap_ranking(*masked, valid).backward()
    assert (own.grad[:, :2] < 0).all()
    assert torch.allclose(swapped.grad, -own.grad)
    assert (own.grad[:, 2] == 0).all()
    # the gradient is that of the margin, none goes through the belief
    belief = own.detach().masked_fill(~valid, INFINITE).softmax(-1)
    expected = -belief * torch.sigmoid(-own.detach()) / 2
    assert torch.allclose(own.grad, expected, atol=1e-6)


def test_swap_ranking_of_an_image_without_proposals_is_finite():
    own = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[True] * 3, [False] * 3])
    found = swap_ranking(*(own.masked_fill(~valid, INFINITE),) * 2, valid)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(own.grad).all()


def matched(batch, model):
    seen = model.see(batch.features, batch.proposals)
    read = model.read(batch.tokens, batch.tokens_mask)
    logits = model.match(seen, read)
    good = positives(batch.owner, batch.text_ids, len(batch.features))
    swaps = model.read(batch.swap_tokens, batch.swap_mask) if len(batch.swap_tokens) else None
    torch.manual_seed(0)
    return match(model, batch, seen, read, swaps, logits, good)


def test_swaps_are_ranked_against_their_own_expressions():
    """The ranking of a batch is that of each expression with its swap on its image."""
    model = make_model()
    batch = loaded(owner=(0, 0, 1), swapped=(1, 2), false=(True, False))
    seen = model.see(batch.features, batch.proposals)
    each = []
    for place, row in enumerate((1, 2)):
        image = seen.take(batch.owner[row : row + 1])
        own, swapped = (
            model.ground(image, model.read(tokens, mask), None).scores
            for tokens, mask in (
                (batch.tokens[[row]], batch.tokens_mask[[row]]),
                (batch.swap_tokens[[place]], batch.swap_mask[[place]]),
            )
        )
        each.append(swap_ranking(own, swapped, image.proposals.valid))
    found = matched(batch, model)
    assert torch.allclose(found.swap_ranking, torch.stack(each).mean(), atol=1e-9)
    assert found.scores.shape == (3, 5)


def test_only_swaps_that_are_false_of_the_image_count_in_matching():
    model = make_model()
    without = matched(loaded(), model)
    doubtful = matched(loaded(swapped=(0, 2), false=(False, False)), model)
    false = matched(loaded(swapped=(0, 2), false=(True, False)), model)
    assert without.swap_ranking == 0
    assert doubtful.swap_ranking > 0
    assert torch.allclose(without.matching, doubtful.matching)
    assert torch.allclose(doubtful.swap_ranking, false.swap_ranking)
    # nine pairs, three of them positive, and the false swap as a tenth
    batch = loaded(swapped=(0,), false=(True,))
    seen = model.see(batch.features, batch.proposals).take(torch.tensor([0]))
    logit = model.ground(seen, model.read(batch.swap_tokens, batch.swap_mask), None).image_logit
    expected = (9 * without.matching + torch.nn.functional.softplus(logit[0])) / 10
    assert false.matching.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_swap_in_doubt_is_no_negative_of_its_own_image():
    """It is one of the other images, as any text of another image."""
    model = make_model()
    plain, doubtful, false = (
        Objective(model, LossesConfig())(loaded(**swaps), 0, 1)["contrastive"]
        for swaps in (
            {},
            {"swapped": (1,), "false": (False,)},
            {"swapped": (1,), "false": (True,)},
        )
    )
    assert plain < doubtful < false


def test_gradient_reaches_both_texts_and_swaps_are_learnt():
    torch.manual_seed(0)
    model = make_model()
    only = {"contrastive": 0.0, "matching": 0.0, "swap_ranking": 1.0}
    off = {"distillation": {"weight": 0.0}, "attention_mining": {"weight": 0.0}}
    objective = Objective(model, parse(LossesConfig, {**only, **off}))
    batch = loaded(swapped=(0, 1, 2), false=(True, False, False))
    for tokens in (batch.tokens, batch.swap_tokens):
        tokens.requires_grad_()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        values = objective(batch, 0, 1)
        assert torch.equal(values["loss"], values["swap_ranking"])
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        seen.append(values["loss"].item())
    assert batch.tokens.grad.abs().sum() > 0
    assert batch.swap_tokens.grad.abs().sum() > 0
    assert seen[-1] < 0.7 * seen[0]


@pytest.mark.parametrize(
    ("warmup", "step", "expected"), [(0.5, 0, 0.0), (0.5, 1, 0.25), (0.5, 6, 1.0), (0.0, 1, 1.0)]
)
def test_the_belief_grows_with_the_training(monkeypatch, warmup, step, expected):
    """And it is of the scores without the CAM, without a gradient."""
    given = []

    def teacher(config, cam, cam_box, proposals, belief, trust):
        given.append((belief, trust))
        return torch.full(proposals.valid.shape, 0.2).double()

    monkeypatch.setattr(objectives, "teacher", teacher)
    model = make_model()
    config = {"distillation": {"belief": 1.0, "belief_warmup": warmup}}
    batch = loaded(owner=(0, 0, 1))
    Objective(model, parse(LossesConfig, config))(batch, step, 8)
    ((belief, trust),) = given
    assert trust == pytest.approx(expected)
    assert not belief.requires_grad
    seen = model.see(batch.features, batch.proposals).take(batch.owner)
    alone = model.ground(seen, model.read(batch.tokens, batch.tokens_mask), None).scores
    assert torch.allclose(belief, object_belief(alone, seen.proposals, seen.proposals), atol=1e-9)


def test_all_terms_are_finite_with_swaps_and_an_image_without_proposals():
    model = make_model().train()
    batch = loaded(owner=(0, 0, 1), swapped=(0, 2), false=(True, False))
    batch.proposals.valid[1] = False
    config = parse(LossesConfig, {"distillation": {"belief": 1.0}})
    values = Objective(model, config)(batch, 1, 2)
    values["loss"].backward()
    assert all(torch.isfinite(value) for value in values.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_without_matching_swaps_they_are_ranked_and_no_negatives():
    model = make_model()
    only = parse(LossesConfig, {"matching_swaps": False})
    values = {}
    for name, swaps in {"none": {}, "two": {"swapped": (0, 2), "false": (True, True)}}.items():
        torch.manual_seed(0)
        values[name] = Objective(model, only)(loaded(**swaps), 0, 1)
    assert values["two"]["swap_ranking"] > 0
    for term in ("contrastive", "matching", "distillation"):
        assert torch.allclose(values["none"][term], values["two"][term])
