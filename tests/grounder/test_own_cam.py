"""The own Grad-CAM: what it is, when it is drawn, and what shapes it."""

from __future__ import annotations

import pytest
import torch

from camground.matcher.gated_map import gate
from tiny_grounder import OFF, PAIRS, forward, see, tiny_grounder, tiny_inputs


def test_the_own_cam_is_the_textbook_grad_cam() -> None:
    """GAIN, Li et al. 2018, eq. 1 and 2."""
    model, inputs = tiny_grounder(own_gate=False), tiny_inputs()
    images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
    logit = model.image_score(images, texts).logit
    own_cam = forward(model, inputs).own_cam
    for row in range(PAIRS):
        (gradient,) = torch.autograd.grad(logit[row], images.map, retain_graph=True)
        by_hand = torch.zeros(images.map.shape[-2:]).double()
        for channel in range(images.map.shape[1]):
            by_hand += gradient[row, channel].mean() * images.map[row, channel]
        assert torch.allclose(own_cam[row], by_hand.clamp(min=0), atol=1e-12)


def test_the_gated_own_cam_is_part_of_the_whole_one() -> None:
    inputs = tiny_inputs()
    model = tiny_grounder()
    kept = forward(model, inputs, order="first")
    whole = forward(tiny_grounder(own_gate=False), inputs).own_cam
    assert kept.image_score.similarity is not None
    shares = model.matcher.cell_shares(kept.image_score.similarity).unflatten(-1, whole.shape[-2:])
    assert torch.allclose(kept.own_cam, whole * gate(whole, shares))
    assert 0 < kept.own_cam.sum() < whole.sum()


@pytest.mark.parametrize(("order", "graph"), [("exact", True), ("first", True), ("none", False)])
def test_the_order_says_whether_the_own_cam_has_a_gradient(order: str, graph: bool) -> None:
    model = tiny_grounder()
    own_cam = forward(model, tiny_inputs(), order=order).own_cam
    assert own_cam.requires_grad == graph
    if graph:
        weights = (model.matcher.trunk.stem.weight, model.matcher.text.skip.weight)
        image, text = torch.autograd.grad(own_cam.sum(), weights, allow_unused=True)
        assert image.any()
        # alpha, which "first" holds constant, alone knows the text
        assert (text is not None and bool(text.any())) == (order == "exact")


def test_no_loss_on_the_scores_shapes_the_own_cam() -> None:
    """A variant without attention mining differs from one with it in the mining alone."""
    model = tiny_grounder(cam_encoder=OFF)
    assert model.own_map is not None
    inputs = tiny_inputs()
    scores = forward(model, inputs, order="exact").scores
    (gradient,) = torch.autograd.grad(scores.sum(), model.matcher.trunk.stem.weight)
    plain = forward(model, inputs, order="none").scores
    (expected,) = torch.autograd.grad(plain.sum(), model.matcher.trunk.stem.weight)
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_training_draws_the_own_cam_only_where_something_reads_it() -> None:
    inputs = tiny_inputs()
    for changes, drawn in (({"regions_only": True}, False), ({}, True)):
        model = tiny_grounder(**changes)
        assert (forward(model, inputs, order="none").own_cam is not None) == drawn
        with torch.no_grad():
            assert forward(model, inputs, order="none").own_cam is not None
