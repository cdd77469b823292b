"""The second expert: what contrast over proposals alone says, and where its word counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from camground.grounder.grounder import Grounder
from camground.grounder.region_contrast import FLOOR, RegionContrast, standardised
from camground.training.config import LossesConfig
from camground.training.objective import Objective
from tiny_grounder import tiny_batch, tiny_config, tiny_matcher


def expert_grounder() -> Grounder:
    torch.manual_seed(0)
    return Grounder(tiny_matcher(), tiny_config(), region_contrast=True).double()


def test_each_row_has_mean_0_and_deviation_1_over_its_valid_scores() -> None:
    scores = torch.tensor([[1.0, 3.0, -torch.inf], [2.0, 2.0, 2.0], [-torch.inf] * 3])
    valid = scores.isfinite()
    assert standardised(scores, valid).tolist() == [[-1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_evidence_is_the_shares_of_the_proposals_near_a_box() -> None:
    model = expert_grounder().eval()
    batch = tiny_batch()
    output = model(*batch.inputs, map_boxes=(0.5,))
    evidence, images = output.region_evidence, output.images
    assert evidence is not None
    assert images.contrasted is not None
    assert evidence.shape == output.scores.shape
    for pair in range(len(evidence)):
        valid = images.proposals.valid[pair]
        similarity = images.contrasted[pair, valid] @ output.texts.phrase[pair]
        standard = (similarity - similarity.mean()) / similarity.std(correction=0)
        share = standard.softmax(0)
        for number, box in enumerate(output.candidates.boxes[pair]):
            overlaps = []
            for other in images.proposals.boxes[pair, valid]:
                low, high = torch.maximum(box[:2], other[:2]), torch.minimum(box[2:], other[2:])
                inter = (high - low).clamp(min=0).prod()
                union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - inter
                overlaps.append((inter / union.clamp(min=1e-6)) ** 2)
            expected = (FLOOR + (torch.stack(overlaps) * share).sum()).log()
            assert evidence[pair, number] == pytest.approx(expected.item(), abs=1e-6)


def test_it_chooses_beside_the_scores_and_trains_apart_from_them() -> None:
    model = expert_grounder()
    batch = tiny_batch()
    output = model.eval()(*batch.inputs)
    valid = output.candidates.valid
    assert output.region_evidence is not None
    expected = standardised(output.scores, valid) + output.region_evidence
    assert torch.equal(output.choice[valid], expected[valid])
    assert output.choice[~valid].isneginf().all()
    assert not output.region_evidence.requires_grad

    def gradients(weight: float) -> dict[str, bool]:
        objective = Objective(model.train(), LossesConfig.parse({"region_contrast": weight}, "losses"))
        objective.zero_grad()
        values = objective(tiny_batch(), 0, 0.0)
        values["loss"].backward()
        return {
            name: bool(each.grad is not None and each.grad.any())
            for name, each in model.named_parameters()
            if name.startswith("region_contrast.")
        }

    assert set(gradients(1.0).values()) == {True}
    assert set(gradients(0.0).values()) == {False}


def test_without_it_the_scores_choose() -> None:
    torch.manual_seed(0)
    model = Grounder(tiny_matcher(), tiny_config()).double().eval()
    output = model(*tiny_batch().inputs)
    assert output.region_evidence is None
    assert output.choice is output.scores


def test_logits_pool_the_most_similar_of_the_valid_proposals() -> None:
    torch.manual_seed(0)
    batch, matcher = tiny_batch(), tiny_matcher().double().eval()
    texts = matcher.read(batch.tokens, batch.mask)
    expert = RegionContrast(texts.phrase.shape[1]).double()
    tokens = functional.normalize(torch.randn(2, 3, texts.phrase.shape[1], dtype=torch.float64), dim=-1)
    valid = torch.tensor([[True, True, True], [True, False, False]])
    logits = expert.logits(tokens, valid, texts, 1e-3)
    assert torch.allclose(logits[1], (texts.phrase @ tokens[1, 0]) * 10)
    assert torch.allclose(logits[0], (texts.phrase @ tokens[0].T).amax(-1) * 10, atol=0.05)
