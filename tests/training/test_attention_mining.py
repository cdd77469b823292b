"""Attention mining: its second-order gradient against finite differences, and what its parts mean."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from camground.grounder.erasing import erase, soft_mask
from camground.grounder.grounder import Grounder
from camground.training import attention_mining
from camground.training.attention_mining import AttentionMining, ImageProbability, size_penalty
from camground.training.config import AttentionMiningConfig, LossesConfig
from camground.training.objective import Objective
from tiny_grounder import Inputs, forward, tiny_batch, tiny_grounder, tiny_inputs

ALONE = {"contrastive": 0, "matching": 0, "swap_ranking": 0, "distillation": {"weight": 0}}


def mined_score(model: Grounder, inputs: Inputs, order: str = "exact") -> Tensor:
    """S(I*, q) as a function of the parameters, through the model's own Grad-CAM."""
    mask = soft_mask(forward(model, inputs, order=order).own_cam, 6.0, 0.4)
    erased = model.matcher.trunk.stem(erase(inputs.features, mask))
    score: Tensor = ImageProbability(model)(erased, inputs.proposals, inputs.tokens, inputs.mask)
    return score.sum()


@pytest.mark.parametrize(
    "name", ["matcher.trunk.stem.weight", "fusion.score.1.weight", "matcher.text.skip.weight"]
)
def test_the_exact_gradient_equals_finite_differences(name: str) -> None:
    model, inputs = tiny_grounder(own_gate=False), tiny_inputs()
    parameter = dict(model.named_parameters())[name]
    (exact,) = torch.autograd.grad(mined_score(model, inputs), parameter)
    direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double()
    step, values = 1e-6, []
    for sign in (1, -2):
        with torch.no_grad():
            parameter += sign * step * direction
        values.append(mined_score(model, inputs).item())
    numeric = (values[0] - values[1]) / (2 * step)
    assert (exact * direction).sum().item() == pytest.approx(numeric, rel=1e-4, abs=1e-8)


def test_the_first_order_gradient_differs_from_the_exact_one() -> None:
    model, inputs = tiny_grounder(), tiny_inputs()
    exact, first = (
        torch.autograd.grad(mined_score(model, inputs, order=order), model.matcher.trunk.stem.weight)[0]
        for order in ("exact", "first")
    )
    assert not torch.allclose(exact, first, rtol=1e-3)


def test_the_size_penalty_is_for_masks_above_the_limit_alone() -> None:
    assert size_penalty(torch.full((2, 4, 4), 0.2), 0.3) == 0
    assert size_penalty(torch.full((2, 4, 4), 0.8), 0.3) == pytest.approx(0.5)


def mining_only(**mining: Any) -> LossesConfig:
    return LossesConfig.parse(
        {**ALONE, "attention_mining": {"weight": 1.0, "warmup": 0.0, "every": 1, **mining}}
    )


def gradients(**mining: Any) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    """The terms of a step of mining alone, and the gradient of every parameter."""
    model = tiny_grounder()
    values = Objective(model, mining_only(**mining))(tiny_batch(), 1, 1)
    values["loss"].backward()
    return values, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("order", ["exact", "first"])
def test_a_frozen_scorer_mines_through_the_mask_alone(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    values, through_mask = gradients(scorer="frozen", order=order)
    assert 0 < values["erased_score"] < 1
    stem, words = (through_mask[f"matcher.{name}.weight"] for name in ("trunk.stem", "text.skip"))
    assert stem is not None
    assert stem.any()
    # alpha, which "first" holds constant, knows the text
    assert (words is not None and bool(words.any())) == (order == "exact")
    # the bias enters S(I*) and not the mask
    assert through_mask["image_bias"] is None or not through_mask["image_bias"].any()
    _, live = gradients(scorer="live", order=order)
    assert live["image_bias"] is not None
    assert live["image_bias"].abs() > 0
    live_stem = live["matcher.trunk.stem.weight"]
    assert live_stem is not None
    assert not torch.allclose(stem, live_stem)
    # once the mask lets none through, nothing is left of it
    monkeypatch.setattr(attention_mining, "soft_mask", lambda *arguments: soft_mask(*arguments).detach())
    model = tiny_grounder()
    mining = mining_only(scorer="frozen", order=order, keep_weight=1.0)
    values = Objective(model, mining)(tiny_batch(), 1, 1)
    assert not values["mining_sum"].requires_grad


def test_the_terms_are_those_of_the_batch() -> None:
    """S(I*, q) is the probability of the erased features, and the keep term compares what is kept; to erase
    after the stem is to erase features."""
    model, batch = tiny_grounder(), tiny_batch(owner=(0, 0, 1))
    config = AttentionMiningConfig(keep_weight=2.0, size_limit=0.01)
    arguments = (batch.features, batch.proposals, batch.tokens, batch.mask, batch.owner)
    output = model(*arguments, batch.matcher_cam, batch.has_cam, order="exact")
    values = AttentionMining(model, config)(batch, output)
    mask = soft_mask(output.own_cam, config.omega, config.sigma)
    features, proposals = batch.features[batch.owner], batch.proposals.take(batch.owner)
    erased, kept = (
        ImageProbability(model)(
            model.matcher.trunk.stem(erase(features, each)), proposals, batch.tokens, batch.mask
        )
        for each in (mask, 1 - mask)
    )
    score = output.image_score.logit.sigmoid()
    assert torch.allclose(values["erased_score"], erased.mean())
    assert torch.allclose(values["image_score"], score.mean())
    assert torch.allclose(values["keep"], (kept - score).abs().mean())
    assert torch.allclose(values["mask_share"], mask.mean())
    expected = erased.mean() + size_penalty(mask, 0.01) + 2 * (kept - score).abs().mean()
    assert torch.allclose(values["mining_sum"], expected)
    assert size_penalty(mask, 0.01) > 0


@pytest.mark.parametrize(("own_gate", "share"), [(False, 0.7), (True, 0.95)])
def test_mining_moves_the_map_to_what_the_scorer_sees(own_gate: bool, share: float) -> None:
    """A few steps on the mining loss alone make a mask that leaves less to the scorer as it was."""
    model, batch = tiny_grounder(own_gate=own_gate).train(), tiny_batch()
    objective = Objective(model, mining_only(size_weight=0.0, omega=5.0, scorer="frozen"))
    before = ImageProbability(deepcopy(model))
    features, proposals = batch.features[batch.owner], batch.proposals.take(batch.owner)

    def left() -> float:
        own_cam = model(*batch.inputs, order="first").own_cam
        erased = before.grounder.matcher.trunk.stem(erase(features, soft_mask(own_cam, 5.0, 0.4)))
        return float(before(erased, proposals, batch.tokens, batch.mask).mean().item())

    optimiser, first = torch.optim.SGD(model.parameters(), lr=0.1), left()
    for _ in range(10):
        loss = objective(batch, 1, 1)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert left() < share * first


def test_mining_depends_on_the_step_alone() -> None:
    """A resumed training makes a new objective; it must mine at the steps that the old one would."""
    losses = LossesConfig.parse({"attention_mining": {"every": 3, "warmup": 2.0, "weight": 0.2}})
    model = tiny_grounder().train()
    whole = Objective(model, losses)
    mined = ["erased_score" in whole(tiny_batch(), step, step / 3) for step in range(9)]
    anew = ["erased_score" in Objective(model, losses)(tiny_batch(), step, step / 3) for step in range(9)]
    assert mined == anew == [False, False, True] * 3
    # of two epochs of warm-up half an epoch is done, then three
    assert whole.mining.weight(2, 0.5) == pytest.approx(0.2 * 3 * 0.5 / 2)
    assert whole.mining.weight(8, 3.0) == pytest.approx(0.2 * 3)
    assert AttentionMining(model, AttentionMiningConfig(weight=0.0)).weight(8, 3.0) == 0
