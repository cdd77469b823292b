"""Attention mining: the second-order gradient against finite differences, and what its parts mean."""

from dataclasses import replace

import pytest
import torch
from test_grounder import make_inputs, make_model

from camground.grounder.batches import Loaded
from camground.matcher.gated_map import gate
from camground.study.sections import parse
from camground.training import attention_mining as mining
from camground.training.objective import LossesConfig, Objective


def mined_score(model, features, proposals, tokens, mask, cam, order="exact"):
    """S(I*, q) as a function of the parameters, through the model's own Grad-CAM."""
    visual = model.trunk(features)
    grounded = model.ground(model.see_map(visual, proposals), model.read(tokens, mask), cam)
    own = model.own_cam(grounded, visual, order)
    soft = mining.soft_mask(own, 6.0, 0.4)
    erased = mining.erase(features, soft, "mean")
    return model(erased, proposals, tokens, mask).sigmoid().sum()


@pytest.mark.parametrize("name", ["trunk.stem.weight", "fusion.score.1.weight", "text.skip.weight"])
def test_exact_gradient_equals_finite_differences(name):
    model = make_model()
    inputs = make_inputs()
    parameter = dict(model.named_parameters())[name]
    (exact,) = torch.autograd.grad(mined_score(model, *inputs), parameter)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double()
    step = 1e-6
    with torch.no_grad():
        parameter += step * direction
    above = mined_score(model, *inputs).item()
    with torch.no_grad():
        parameter -= 2 * step * direction
    below = mined_score(model, *inputs).item()
    numeric = (above - below) / (2 * step)
    assert (exact * direction).sum().item() == pytest.approx(numeric, rel=1e-4, abs=1e-8)


def test_first_order_gradient_differs_from_the_exact_one():
    model = make_model()
    inputs = make_inputs()
    exact, first = (
        torch.autograd.grad(mined_score(model, *inputs, order=order), model.trunk.stem.weight)[0]
        for order in ("exact", "first")
    )
    assert not torch.allclose(exact, first, rtol=1e-3)


def test_own_cam_is_the_textbook_grad_cam():
    model = make_model()
    features, proposals, tokens, mask, cam = make_inputs()
    visual = model.trunk(features)
    grounded = model.ground(model.see_map(visual, proposals), model.read(tokens, mask), cam)
    logit = grounded.image_logit
    own = model.own_cam(grounded, visual)
    for row in range(len(logit)):
        (gradient,) = torch.autograd.grad(logit[row], visual, retain_graph=True)
        by_hand = torch.zeros(visual.shape[-2:]).double()
        for channel in range(visual.shape[1]):
            by_hand += gradient[row, channel].mean() * visual[row, channel]
        assert torch.allclose(own[row], by_hand.clamp(min=0), atol=1e-12)


def test_the_gated_own_cam_is_part_of_the_whole_one():
    model = make_model(own_gate=True)
    features, proposals, tokens, mask, cam = make_inputs()
    visual = model.trunk(features)
    grounded = model.ground(model.see_map(visual, proposals), model.read(tokens, mask), cam)
    kept = model.own_cam(grounded, visual)
    whole = model.own_cam(replace(grounded, place=None), visual)
    assert torch.allclose(kept, whole * gate(whole, grounded.place))
    assert 0 < kept.sum() < whole.sum()
    (gradient,) = torch.autograd.grad(kept.sum(), model.trunk.stem.weight)
    assert gradient.any()


def test_soft_mask_and_erase():
    cam = torch.zeros(1, 4, 4)
    cam[0, 1, 1] = 5.0
    soft = mining.soft_mask(cam, 50.0, 0.5)
    assert soft[0, 1, 1] > 0.99
    assert soft[0, 0, 0] < 0.01
    x = torch.randn(1, 3, 4, 4)
    erased = mining.erase(x, (cam > 0).float(), "mean")
    assert torch.allclose(erased[0, :, 1, 1], x.mean((2, 3))[0], atol=1e-6)
    assert torch.equal(erased[0, :, 0], x[0, :, 0])
    blurred = mining.erase(x, torch.ones(1, 2, 2), "blur")
    assert blurred.shape == x.shape
    assert blurred.var() < x.var()


def test_size_penalty_only_above_the_limit():
    assert mining.size_penalty(torch.full((2, 4, 4), 0.2), 0.3) == 0
    assert mining.size_penalty(torch.full((2, 4, 4), 0.8), 0.3) == pytest.approx(0.5)


def loaded(owner=(0, 1, 2), swapped=(), false=()):
    """Three expressions; those in `swapped` have a swap, which is false of the image where told."""
    features, proposals, tokens, mask, cam = make_inputs()
    has_swap = torch.zeros(3, dtype=torch.bool)
    has_swap[list(swapped)] = True
    owner = torch.tensor(owner)
    images = owner.unique()
    return Loaded(
        features=features[images],
        proposals=proposals.take(images),
        tokens=tokens,
        tokens_mask=mask,
        owner=owner,
        text_ids=torch.arange(3),
        cam=cam,
        shown_cam=cam,
        cam_known=torch.ones(3, dtype=torch.bool),
        cam_box=torch.tensor([[0.1, 0.1, 0.5, 0.6]] * 3).double(),
        image_rows=owner.numpy(),
        swapped=has_swap,
        swap_tokens=-tokens[has_swap],
        swap_mask=mask[has_swap],
        swap_false=torch.tensor(false, dtype=torch.bool),
    )


def gradients(scorer):
    model = make_model().train()
    losses = parse(
        LossesConfig,
        {
            "contrastive": 0.0,
            "matching": 0.0,
            "swap_ranking": 0.0,
            "distillation": {"weight": 0.0},
            "attention_mining": {"scorer": scorer, "weight": 1.0, "warmup": 0.0, "order": "exact"},
        },
    )
    torch.manual_seed(0)
    values = Objective(model, losses)(loaded(), 1, 1)
    values["loss"].backward()
    return values, {name: p.grad for name, p in model.named_parameters()}


def test_a_frozen_scorer_still_mines_through_the_mask():
    values, frozen = gradients("frozen")
    _, live = gradients("live")
    assert 0 < values["erased_score"] < 1
    assert frozen["trunk.stem.weight"].abs().sum() > 0
    assert not torch.allclose(frozen["trunk.stem.weight"], live["trunk.stem.weight"])
    # the bias enters S(I*) but not the mask
    assert live["image_bias"].abs() > 0
    assert frozen["image_bias"] is None or frozen["image_bias"].abs() < 1e-12


def test_mining_reduces_what_is_left_after_erasing():
    """A few steps on the mining loss alone, with a frozen scorer, must lower S(I*, q)."""
    torch.manual_seed(0)
    model = make_model().train()
    losses = parse(
        LossesConfig,
        {
            "contrastive": 0.0,
            "matching": 0.0,
            "swap_ranking": 0.0,
            "distillation": {"weight": 0.0},
            "attention_mining": {
                "weight": 1.0,
                "warmup": 0.0,
                "size_weight": 0.0,
                "omega": 5.0,
                "scorer": "frozen",
            },
        },
    )
    objective = Objective(model, losses)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    seen = []
    for _ in range(40):
        values = objective(loaded(), 1, 1)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        seen.append((values["erased_score"].item(), values["image_score"].item()))
    assert seen[-1][0] < seen[0][0]


def test_all_terms_are_logged_and_finite_with_several_texts_an_image():
    model = make_model().train()
    values = Objective(model, LossesConfig())(loaded(owner=(0, 0, 1)), 1, 2)
    assert {
        "loss",
        "contrastive",
        "matching",
        "swap_ranking",
        "distillation",
        "erased_score",
        "size_penalty",
    } <= set(values)
    assert all(torch.isfinite(value) for value in values.values())


def test_mining_depends_on_the_step_alone():
    """A resumed training makes a new objective; it must mine at the steps that the old one would."""
    losses = parse(LossesConfig, {"attention_mining": {"every": 3, "warmup": 0.5, "weight": 0.2}})
    model = make_model().train()
    whole = Objective(model, losses)
    said = ["erased_score" in whole(loaded(), step, 9) for step in range(9)]
    anew = ["erased_score" in Objective(model, losses)(loaded(), step, 9) for step in range(9)]
    assert said == anew == [False, False, True] * 3
    assert whole._mining_weight(2, 9) == pytest.approx(0.2 * 3 * (2 / 9) / 0.5)
    assert whole._mining_weight(8, 9) == pytest.approx(0.2 * 3)
