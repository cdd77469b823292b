"""The grounder's objective: which terms there are, what each depends on, and that they train."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camground.data.pairs import PairBatch
from camground.grounder.batches import GroundingBatch
from camground.grounder.grounder import Grounder
from camground.study.errors import UserError
from camground.training.config import LossesConfig
from camground.training.contrastive import info_nce, positives
from camground.training.distillation import distillation, teacher
from camground.training.grounder import validated
from camground.training.objective import Objective
from tiny_grounder import OFF, late_scores, tiny_batch, tiny_grounder

REGIONS_ONLY = {"regions_only": True, "cam_encoder": OFF, "transformer": OFF, "fusion": OFF}
NOTHING: dict[str, Any] = {
    "contrastive": 0,
    "matching": 0,
    "matching_swaps": False,
    "swap_ranking": 0,
    "distillation": {"weight": 0},
    "attention_mining": {"weight": 0},
}


def terms(model: Grounder, batch: GroundingBatch, step: int = 0, **losses: Any) -> dict[str, Tensor]:
    """The terms of a batch, with the same draws each time."""
    torch.manual_seed(0)
    objective = Objective(model, LossesConfig.parse(losses)).double()
    values: dict[str, Tensor] = objective(batch, step, step / 2)
    return values


def test_all_terms_are_logged_and_finite_with_several_texts_an_image() -> None:
    model = tiny_grounder().train()
    values = terms(model, tiny_batch(owner=(0, 0, 1)), step=1, reconstruction=1.0)
    assert {
        *("loss", "contrastive", "recall@1", "matching", "swap_ranking", "distillation"),
        *("reconstruction", "erased_score", "image_score", "size_penalty", "mask_share"),
    } <= set(values)
    assert all(torch.isfinite(value) for value in values.values())


def test_all_terms_are_finite_with_swaps_and_an_image_without_proposals() -> None:
    model = tiny_grounder().train()
    batch = tiny_batch(owner=(0, 0, 1), swapped=(0, 2), false=(True, False))
    batch.proposals.valid[1] = False
    values = terms(model, batch, step=1)
    assert "erased_score" in values
    values["loss"].backward()
    assert all(torch.isfinite(value) for value in values.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_loss_is_the_weighted_sum_of_the_terms() -> None:
    batch = tiny_batch(swapped=(0, 2), false=(True, False))
    weights = {"contrastive": 0.5, "matching": 0.25, "swap_ranking": 3.0, "reconstruction": 2.0}
    mining = {"weight": 0.3, "every": 2, "warmup": 1.0}
    values = terms(
        tiny_grounder(), batch, 1, **weights, distillation={"weight": 0.7}, attention_mining=mining
    )
    expected = sum(weight * values[name] for name, weight in weights.items())
    expected = expected + 0.7 * values["distillation"]
    expected = expected + 0.3 * 2 * (1 / 2) * values["mining_sum"]
    assert torch.allclose(values["loss"], torch.as_tensor(expected))


@pytest.mark.parametrize("owner", [(0, 0, 1), (0, 1, 1), (0, 1, 2)])
def test_the_contrastive_term_compares_every_image_once(owner: tuple[int, ...]) -> None:
    """Texts that share an image do not multiply it."""
    model = tiny_grounder()
    batch = tiny_batch(owner=owner, swapped=(1,), false=(True,))
    assert batch.swaps is not None
    images = model.see(model.matcher.trunk(batch.features), batch.proposals)
    read = model.matcher.read
    logits = late_scores(model, images, read(batch.tokens, batch.mask))
    swap_logits = late_scores(model, images, read(batch.swaps.tokens, batch.swaps.mask))
    positive = positives(batch.owner, batch.text_ids, len(batch.features))
    negative = torch.ones(len(batch.features), 1, dtype=torch.bool)
    expected = info_nce(logits.float(), positive, swap_logits.float(), negative)
    assert torch.allclose(terms(model, batch)["contrastive"], expected, atol=1e-6)


@pytest.mark.parametrize("name", ["matching", "distillation", "swap_ranking"])
def test_a_shared_image_equals_its_copies_in_the_terms_of_own_pairs(name: str) -> None:
    model = tiny_grounder()
    batch = tiny_batch(owner=(0, 0, 1), swapped=(0, 1, 2), false=(False,) * 3)
    alike = torch.zeros(3, dtype=torch.long)  # so that no other pair is a negative
    batch = replace(batch, text_ids=alike)
    copies = replace(
        batch,
        features=batch.features[batch.owner],
        proposals=batch.proposals.take(batch.owner),
        owner=torch.arange(3),
    )
    shared, copied = (terms(model, each)[name] for each in (batch, copies))
    assert torch.allclose(shared, copied, atol=1e-9)


def test_the_distillation_is_the_mean_of_the_scores_with_the_cam_and_without() -> None:
    model = tiny_grounder()
    batch = tiny_batch(owner=(0, 0, 1))
    output = model(*batch.inputs, "first")
    config = LossesConfig().distillation
    proposals = batch.proposals.take(batch.owner)  # no boxes around the own map
    target = teacher(config, batch.teacher_cam, batch.cam_boxes, proposals)
    parts = [
        distillation(scores, target, proposals.valid, batch.taught)
        for scores in (output.scores, output.image_score.proposal_scores)
    ]
    assert not torch.isclose(*parts)
    assert torch.allclose(terms(model, batch)["distillation"], sum(parts) / 2, atol=1e-6)


def test_the_teacher_and_the_encoder_have_cams_of_their_own() -> None:
    """The distillation follows the teacher's map; the encoder sees the other."""
    model, batch = tiny_grounder(), tiny_batch()
    none, other = torch.zeros(3, dtype=torch.bool), batch.teacher_cam.flip(1)
    value = terms(model, batch)["distillation"]
    assert terms(model, replace(batch, taught=none))["distillation"] == 0
    assert terms(model, replace(batch, has_cam=none))["distillation"] > 0
    own = model(*batch.inputs).scores
    # the boxes around the teacher's map, and the map itself where the ranking has a weight
    moved, turned = replace(batch, cam_boxes=1 - batch.cam_boxes.flip(-1)), replace(batch, teacher_cam=other)
    for taught in (moved, turned):
        assert torch.equal(model(*taught.inputs).scores, own)
    assert terms(model, moved)["distillation"] != value
    ranked = {"distillation": {"ranking": 1.0}}
    assert terms(model, turned, **ranked)["distillation"] != terms(model, batch, **ranked)["distillation"]
    shown = replace(batch, matcher_cam=other)
    assert not torch.allclose(model(*shown.inputs).scores, own)


def test_validation_is_the_losses_without_mining_and_without_gradients() -> None:
    objective = Objective(tiny_grounder(), LossesConfig())
    batch = tiny_batch(swapped=(0, 2), false=(True, False))
    data: Any = SimpleNamespace(
        load=lambda indices, device: batch,
        proposals=SimpleNamespace(sizes=np.ones((2, 2), np.float32)),
        pairs=SimpleNamespace(image_rows=np.array([0, 1, 1])),
    )
    rows = np.arange(3)
    torch.manual_seed(0)
    expected = objective(batch, 0, 9.0)
    assert "erased_score" not in expected  # of two steps the second mines
    assert "erased_score" in objective(batch, 1, 9.0)
    torch.manual_seed(0)
    with torch.no_grad():
        scores = validated(objective, data, PairBatch(rows[:2], rows, rows, rows), torch.device("cpu")).values
    assert "erased_score" not in scores
    assert scores["score"] == -scores["loss"]
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value.item(), abs=1e-9)


def test_a_swap_in_doubt_is_no_negative_of_its_own_image() -> None:
    """It is one of the other images, as any text of another image."""
    model = tiny_grounder()
    plain, doubtful, false = (
        terms(model, tiny_batch(**swaps))["contrastive"]
        for swaps in ({}, {"swapped": (1,), "false": (False,)}, {"swapped": (1,), "false": (True,)})
    )
    assert plain < doubtful < false


def test_swaps_are_negatives_unless_the_config_says_otherwise() -> None:
    def values(swaps: bool, false: tuple[bool, ...]) -> dict[str, Tensor]:
        batch = tiny_batch(swapped=(0, 2), false=false)
        return terms(tiny_grounder(), batch, matching_swaps=swaps)

    used, unused = values(True, (True, True)), values(False, (True, True))
    for name in ("matching", "contrastive"):
        assert used[name] != unused[name]
    assert used["swap_ranking"] == unused["swap_ranking"] > 0
    # and then nothing depends on which of them are false
    other = values(False, (False, False))
    assert all(torch.equal(unused[name], value) for name, value in other.items())
    # as if there were none
    none = terms(tiny_grounder(), tiny_batch())
    for name in ("matching", "contrastive", "distillation"):
        assert torch.allclose(none[name], unused[name])


def test_the_gradient_reaches_both_texts_and_swaps_are_learnt() -> None:
    model = tiny_grounder()
    objective = Objective(model, LossesConfig.parse({**NOTHING, "swap_ranking": 1.0}))
    batch = tiny_batch(swapped=(0, 1, 2), false=(True, False, False))
    assert batch.swaps is not None
    for tokens in (batch.tokens, batch.swaps.tokens):
        tokens.requires_grad_()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        values = objective(batch, 0, 1)
        assert torch.equal(values["loss"], values["swap_ranking"])
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        losses.append(values["loss"].item())
    for tokens in (batch.tokens, batch.swaps.tokens):
        assert tokens.grad is not None
        assert tokens.grad.any()
    assert losses[-1] < 0.7 * losses[0]


def test_reconstruction_alone_trains_what_scores_proposals() -> None:
    model = tiny_grounder(**REGIONS_ONLY).train()
    objective = Objective(model, LossesConfig.parse({**NOTHING, "reconstruction": 1.0})).double()
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for step in range(60):
        values = objective(tiny_batch(), step, 60)
        optimiser.zero_grad()
        values["loss"].backward()
        if not step:
            for parameter in (model.region_scale, model.matcher.text.skip.weight):
                assert parameter.grad is not None
                assert parameter.grad.any()
            assert values["loss"] == values["reconstruction"]
        optimiser.step()
        losses.append(values["reconstruction"].item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_decoder_is_the_objectives_and_changes_nothing_of_the_grounder() -> None:
    """It trains with the loss, and no checkpoint of the grounder holds it."""
    plain, more = (Objective(tiny_grounder(), LossesConfig(reconstruction=weight)) for weight in (0.0, 1.0))
    assert all(name.startswith("grounder.") for name in plain.state_dict())
    added = {name for name in more.state_dict() if not name.startswith("grounder.")}
    assert added == {
        f"reconstruction.decoder.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    for name, value in plain.grounder.state_dict().items():
        assert torch.equal(more.grounder.state_dict()[name], value)


def test_removed_and_misspelt_losses_are_refused() -> None:
    with pytest.raises(UserError, match=r"losses\.distillation\.belief: unknown key"):
        LossesConfig.parse({"distillation": {"belief": 1.0}}, "losses")
    with pytest.raises(UserError, match=r"losses\.matchin: unknown key; did you mean `matching`"):
        LossesConfig.parse({"matchin": 1.0}, "losses")
