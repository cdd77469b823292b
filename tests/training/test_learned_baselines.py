"""The parts of the learned baselines: reconstruction, scores of regions alone, no swaps."""

from __future__ import annotations

import pytest
import torch
from test_attention_mining import loaded
from test_grounder import CHANNELS, TEXT, make_inputs, make_model
from torch import nn

from camground.grounder.batch_grounding import ground_batch
from camground.grounder.cam_encoder import CamEncoderConfig
from camground.grounder.fusion import FusionConfig
from camground.grounder.grounder import Grounder, GrounderConfig, TransformerConfig
from camground.study.config import load_config, merge, validate, variant_config, variants_to_run
from camground.study.errors import UserError
from camground.study.sections import parse
from camground.training.objective import LossesConfig, Objective
from camground.training.reconstruction import reconstruction, text_vectors
from conftest import REPOSITORY

REGIONS_ONLY = {
    "own_map": False,
    "dense": False,
    "subject": False,
    "cam_encoder": CamEncoderConfig(enabled=False),
    "transformer": TransformerConfig(enabled=False),
    "fusion": FusionConfig(enabled=False),
}
OFF = {
    "contrastive": 0.0,
    "matching": 0.0,
    "matching_swaps": False,
    "swap_ranking": 0.0,
    "distillation": {"weight": 0.0},
    "attention_mining": {"weight": 0.0},
}


def orthogonal():
    """Four pairs of three proposals, of which the second carries the text's own vector."""
    target = torch.eye(4)
    regions = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))
    regions[:, 1] = target
    return regions, torch.ones(4, 3, dtype=torch.bool), target, torch.arange(4)


def test_a_perfect_decoder_has_a_low_loss_where_the_attention_is_right():
    regions, *rest = orthogonal()
    right, wrong = torch.zeros(2, 4, 3)
    right[:, 1], wrong[:, 0] = 20.0, 20.0
    assert reconstruction(nn.Identity(), right, regions, *rest) < 1e-4
    assert reconstruction(nn.Identity(), wrong, regions, *rest) > 0.5


def test_the_gradient_moves_the_scores_to_the_proposal_that_says_it():
    regions, *rest = orthogonal()
    scores = torch.zeros(4, 3, requires_grad=True)
    reconstruction(nn.Identity(), scores, regions, *rest).backward()
    assert (scores.grad[:, 1] < 0).all()
    # and descent ends there
    optimiser = torch.optim.SGD([scores], lr=1.0)
    for _ in range(200):
        optimiser.zero_grad()
        reconstruction(nn.Identity(), scores, regions, *rest).backward()
        optimiser.step()
    assert (scores.argmax(1) == 1).all()


def test_a_decoder_that_says_the_same_of_all_gains_nothing():
    regions, valid, target, ids = orthogonal()
    mean = target.mean(0)
    loss = reconstruction(
        lambda x: mean.expand(len(x), 4), torch.zeros(4, 3), regions, valid, target, ids
    )
    assert loss.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-5)


def test_equal_texts_are_no_negatives_and_invalid_proposals_no_evidence():
    regions, valid, target, _ = orthogonal()
    scores = torch.zeros(4, 3)
    same = reconstruction(
        nn.Identity(), scores, regions, valid, target, torch.zeros(4, dtype=torch.long)
    )
    assert same == 0
    only = torch.zeros(4, 3, dtype=torch.bool)
    only[:, 1] = True
    scores = scores.masked_fill(~only, -torch.inf)
    assert reconstruction(nn.Identity(), scores, regions, only, target, torch.arange(4)) < 1e-4
    # a pair without proposals is left out, and makes no gradient a nan
    only[0] = False
    scores = torch.zeros(4, 3).masked_fill(~only, -torch.inf).requires_grad_()
    loss = reconstruction(nn.Identity(), scores, regions, only, target, torch.arange(4))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    none = torch.zeros(4, 3, dtype=torch.bool)
    assert reconstruction(nn.Identity(), scores, regions, none, target, torch.arange(4)) == 0


def test_text_vectors_pass_over_padding():
    tokens = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [9.0, -9.0]]])
    mask = torch.tensor([[True, True, False]])
    assert torch.allclose(text_vectors(tokens, mask), torch.full((1, 2), 0.5**0.5))


def test_reconstruction_alone_trains_what_scores_proposals():
    torch.manual_seed(0)
    model = make_model(**REGIONS_ONLY, reconstruction=True).train()
    objective = Objective(model, parse(LossesConfig, {**OFF, "reconstruction": 1.0}))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = []
    for step in range(60):
        values = objective(loaded(), step, 60)
        optimiser.zero_grad()
        values["loss"].backward()
        if not step:
            assert model.region_scale.grad.abs() > 0
            assert model.text.skip.weight.grad.abs().sum() > 0
            assert values["loss"] == values["reconstruction"]
        optimiser.step()
        seen.append(values["reconstruction"].item())
    assert seen[-1] < 0.5 * seen[0]


def test_the_loss_without_its_decoder_is_refused():
    losses = parse(LossesConfig, {"reconstruction": 0.5})
    with pytest.raises(UserError, match=r"set model\.reconstruction: true"):
        Objective(make_model(), losses)
    Objective(make_model(reconstruction=True), losses)
    config = merge(load_config(), {"variants": {"new": {"losses": {"reconstruction": 0.5}}}})
    with pytest.raises(UserError, match=r"variant new: losses\.reconstruction needs model\.recon"):
        validate(config)


def test_the_decoder_changes_no_other_layer():
    plain, more = make_model().state_dict(), make_model(reconstruction=True).state_dict()
    assert {name for name in more if name not in plain} == {
        f"decoder.layers.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    assert all(torch.equal(more[name], value) for name, value in plain.items())


@pytest.mark.parametrize("dense", [True, False])
def test_without_the_dense_part_the_scores_look_at_regions_alone(dense):
    """A map changed behind the proposals' tokens is seen by the dense part alone."""
    model = make_model(dense=dense, **{k: v for k, v in REGIONS_ONLY.items() if k != "dense"})
    features, proposals, tokens, mask, _ = make_inputs()
    seen, read = model.see(features, proposals), model.read(tokens, mask)
    late = model.match(seen, read)
    image = model.ground(seen, read, None).image_logit
    seen.map = seen.map.flip(0) * 2
    assert torch.equal(late, model.match(seen, read)) is not dense
    assert torch.equal(image, model.ground(seen, read, None).image_logit) is not dense
    seen.regions = seen.regions.flip(0)
    assert not torch.allclose(late, model.match(seen, read))
    assert not torch.allclose(image, model.ground(seen, read, None).image_logit)


def test_the_contrastive_loss_alone_trains_what_chooses_the_region():
    """Region by region, the late score and the final one agree on which proposal is meant."""
    model = make_model(**REGIONS_ONLY)
    model.prior.data.zero_()
    features, proposals, tokens, mask, _ = make_inputs()
    seen, read = model.see(features, proposals), model.read(tokens, mask)
    assert torch.equal(read.subject, read.phrase)
    alike = torch.einsum("pd,pkd->pk", read.phrase, model._unit_regions(seen))
    assert torch.equal(model.ground(seen, read, None).scores.argsort(-1), alike.argsort(-1))
    assert not torch.equal(make_model().read(tokens, mask).subject, read.subject)


def test_swaps_are_negatives_unless_told_otherwise():
    def values(swaps: bool, false: tuple[bool, ...], ranking: float = 1.0):
        torch.manual_seed(0)
        losses = parse(LossesConfig, {"matching_swaps": swaps, "swap_ranking": ranking})
        batch = loaded(swapped=(0, 2), false=false)
        return Objective(make_model(), losses)(batch, 0, 1)

    used, unused = values(True, (True, True)), values(False, (True, True))
    for name in ("matching", "contrastive"):
        assert used[name] != unused[name]
    assert used["swap_ranking"] == unused["swap_ranking"]
    # and then nothing depends on which of them are false
    other = values(False, (False, False))
    assert all(torch.equal(unused[name], value) for name, value in other.items())
    # as if there were none
    torch.manual_seed(0)
    none = Objective(make_model(), LossesConfig())(loaded(), 0, 1)
    for name in ("matching", "contrastive"):
        assert torch.allclose(none[name], unused[name])


STUDY = load_config(REPOSITORY / "configs" / "study.yaml")


@pytest.mark.parametrize("name", variants_to_run(STUDY))
def test_every_variant_of_the_study_trains_and_grounds(name):
    config = variant_config(STUDY, name)
    model_config = parse(GrounderConfig, merge(config["model"], {"width": 16}))
    torch.manual_seed(0)
    model = Grounder(model_config, CHANNELS, TEXT).double().train()
    losses = parse(LossesConfig, config["losses"])
    batch = loaded(swapped=(0, 1, 2), false=(True, True, False))
    values = Objective(model, losses)(batch, 1, 2)
    values["loss"].backward()
    assert torch.isfinite(values["loss"])
    if name in ("region_contrastive", "reconstruction"):
        only = name.removeprefix("region_")
        assert values["loss"] == values[only]
        assert model.trunk.stem.weight.grad.abs().sum() > 0
    scores = ground_batch(model.eval(), batch).scores
    assert torch.isfinite(scores).all()
    assert (scores.std(-1) > 0).all()
