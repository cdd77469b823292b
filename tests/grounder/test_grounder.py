"""Invariants of the forward pass: what its numbers depend on, and what they must not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from camground.grounder.grounder import Grounder, GroundingOutput
from camground.grounder.regions import Proposals
from camground.matcher.matcher import Texts
from camground.training.attention_mining import ImageProbability
from tiny_grounder import (
    COUNT,
    GRID,
    OFF,
    PAIRS,
    SWITCHES,
    forward,
    fresh_grounder,
    late_scores,
    see,
    tiny_grounder,
    tiny_inputs,
    tiny_matcher,
)

every_model = pytest.mark.parametrize("changes", SWITCHES.values(), ids=SWITCHES)
# and with boxes around the own CAM among the candidates
every_way = pytest.mark.parametrize(
    ("changes", "map_boxes"),
    [*((changes, ()) for changes in SWITCHES.values()), ({}, (0.4, 0.6))],
    ids=[*SWITCHES, "map_boxes"],
)


def numbers(output: GroundingOutput) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, image score and own CAM."""
    return output.scores, output.image_score.logit, output.own_cam


def close(one: GroundingOutput, other: GroundingOutput) -> bool:
    pairs = zip(numbers(one), numbers(other), strict=True)
    return all(torch.allclose(a, b, atol=1e-9) for a, b in pairs)


@every_way
def test_a_batch_equals_its_pairs_alone(changes: dict[str, Any], map_boxes: tuple[float, ...]) -> None:
    model, inputs = tiny_grounder(**changes), tiny_inputs()
    together = forward(model, inputs, map_boxes=map_boxes)
    for row in range(PAIRS):
        alone = forward(model, inputs.take([row]), map_boxes=map_boxes)
        for batched, single in zip(numbers(together), numbers(alone), strict=True):
            assert torch.allclose(batched[[row]], single, atol=1e-9)


@every_way
def test_the_order_of_proposals_is_that_of_the_scores(
    changes: dict[str, Any], map_boxes: tuple[float, ...]
) -> None:
    model, inputs = tiny_grounder(**changes), tiny_inputs()
    order = torch.tensor([3, 0, 4, 1, 2])
    before = forward(model, inputs, map_boxes=map_boxes)
    parts = (inputs.proposals.boxes, inputs.proposals.objectness, inputs.proposals.valid)
    inputs.proposals = Proposals(*(part[:, order] for part in parts))
    after = forward(model, inputs, map_boxes=map_boxes)
    assert torch.allclose(before.scores[:, order], after.scores[:, :COUNT], atol=1e-9)
    assert torch.allclose(before.scores[:, COUNT:], after.scores[:, COUNT:], atol=1e-9)
    assert torch.allclose(before.image_score.logit, after.image_score.logit, atol=1e-9)
    assert torch.allclose(before.own_cam, after.own_cam, atol=1e-9)
    assert not torch.allclose(before.scores[:, :COUNT], after.scores[:, :COUNT])


@pytest.mark.parametrize("count", [5, 1])
def test_padding_with_invalid_proposals_changes_nothing(count: int) -> None:
    model, inputs = tiny_grounder(), tiny_inputs(count=count)
    plain = forward(model, inputs)
    texts = model.matcher.read(inputs.tokens, inputs.mask)
    contrastive = late_scores(model, see(model, inputs), texts)
    proposals = inputs.proposals
    inputs.proposals = Proposals(
        torch.cat([proposals.boxes, torch.zeros(PAIRS, 2, 4).double()], 1),
        torch.cat([proposals.objectness, torch.zeros(PAIRS, 2).double()], 1),
        torch.cat([proposals.valid, torch.zeros(PAIRS, 2, dtype=torch.bool)], 1),
    )
    padded = forward(model, inputs)
    assert torch.allclose(plain.scores, padded.scores[:, :count], atol=1e-9)
    assert torch.isinf(padded.scores[:, count:]).all()
    assert torch.allclose(plain.image_score.logit, padded.image_score.logit, atol=1e-9)
    late = late_scores(model, see(model, inputs), texts)
    assert torch.allclose(contrastive, late, atol=1e-9)


@every_way
def test_an_image_without_proposals_has_finite_numbers_and_gradients(
    changes: dict[str, Any], map_boxes: tuple[float, ...]
) -> None:
    model, inputs = tiny_grounder(**changes), tiny_inputs()
    inputs.proposals.valid[1] = False
    output = forward(model, inputs, order="exact", map_boxes=map_boxes)
    assert torch.isinf(output.scores[1, :COUNT]).all()
    assert torch.isfinite(output.scores[1, COUNT:]).all()
    assert torch.isfinite(output.scores[0]).all()
    assert torch.isfinite(output.image_score.logit).all()
    (output.image_score.logit.sum() + output.own_cam.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_scores_depend_on_cam_words_and_own_cam() -> None:
    """Each through its own part of the model."""
    model, inputs = tiny_grounder(), tiny_inputs()
    base = forward(model, inputs).scores
    other_cam, other_words = tiny_inputs(), tiny_inputs()
    other_cam.cam = inputs.cam.flip(2)
    other_words.tokens = inputs.tokens.flip(0)
    assert not torch.allclose(base, forward(model, other_cam).scores)
    assert not torch.allclose(base, forward(model, other_words).scores)
    without = tiny_grounder(cam_encoder=OFF)
    assert torch.equal(forward(without, inputs).scores, forward(without, other_cam).scores)
    assert model.own_map is not None
    model.own_map.weight.data.zero_()
    assert not torch.allclose(base, forward(model, inputs).scores)


def shown(
    model: Grounder, cam: Tensor | None, known: Tensor | None = None, map_boxes: tuple[float, ...] = ()
) -> GroundingOutput:
    """The forward pass with this CAM in place of the inputs' own, and with the own CAM drawn."""
    inputs = tiny_inputs()
    pairs = (inputs.features, inputs.proposals, inputs.tokens, inputs.mask, torch.arange(PAIRS))
    output: GroundingOutput = model(*pairs, cam, known, order="first", map_boxes=map_boxes)
    return output


def test_a_withheld_cam_hides_its_content() -> None:
    model, cam = tiny_grounder(), tiny_inputs().cam
    nothing = torch.zeros(PAIRS, dtype=torch.bool)
    withheld = shown(model, cam, nothing).scores
    assert torch.equal(withheld, shown(model, cam.flip(1), nothing).scores)
    assert torch.allclose(withheld, shown(model, None).scores)
    some = shown(model, cam, torch.tensor([True, False, True])).scores
    assert torch.allclose(some[1], withheld[1])
    assert torch.allclose(some[[0, 2]], shown(model, cam).scores[[0, 2]])
    assert not torch.isclose(some[[0, 2]], withheld[[0, 2]]).all()


def test_in_training_a_share_of_the_cams_is_withheld() -> None:
    model, cam = tiny_grounder(cam_encoder={"dropout": 0.5}).train(), tiny_inputs().cam
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for block in model.modules():
        if hasattr(block, "dropout"):
            block.dropout = 0.0 if isinstance(block.dropout, float) else block.dropout
    torch.manual_seed(0)
    kept = torch.stack([shown(model, cam).scores[0] for _ in range(12)])
    model.eval()
    seen, unseen = shown(model, cam).scores[0], shown(model, None).scores[0]
    as_seen, as_unseen = ([torch.allclose(row, whole) for row in kept.detach()] for whole in (seen, unseen))
    assert all(a != b for a, b in zip(as_seen, as_unseen, strict=True))
    assert any(as_seen)
    assert any(as_unseen)


@every_way
def test_image_score_and_own_cam_know_nothing_of_the_matchers_cam(
    changes: dict[str, Any], map_boxes: tuple[float, ...]
) -> None:
    """S(I, q) is one function of image and text, and so is its Grad-CAM."""
    model, cam = tiny_grounder(**changes), tiny_inputs().cam
    outputs = [
        shown(model, cam, map_boxes=map_boxes),
        shown(model, None, map_boxes=map_boxes),
        shown(model, cam, torch.zeros(PAIRS, dtype=torch.bool), map_boxes),
        shown(model, cam.roll(1, 0), map_boxes=map_boxes),
        shown(model, torch.ones_like(cam), map_boxes=map_boxes),
    ]
    for other in outputs[1:]:
        assert torch.equal(other.image_score.logit, outputs[0].image_score.logit)
        assert torch.equal(other.image_score.proposal_scores, outputs[0].image_score.proposal_scores)
        assert torch.equal(other.own_cam, outputs[0].own_cam)
    if not changes:
        assert not torch.equal(outputs[0].scores, outputs[1].scores)


@every_model
def test_the_probability_of_unerased_features_is_that_of_the_image_score(changes: dict[str, Any]) -> None:
    """What attention mining computes of I* is, of I itself, S(I, q)."""
    model, inputs = tiny_grounder(**changes), tiny_inputs()
    output = forward(model, inputs)
    stem = model.matcher.trunk.stem(inputs.features)
    probability = ImageProbability(model)(stem, inputs.proposals, inputs.tokens, inputs.mask)
    assert torch.allclose(probability, output.image_score.logit.sigmoid(), atol=1e-12)


@every_way
def test_without_gradients_the_numbers_are_the_same(
    changes: dict[str, Any], map_boxes: tuple[float, ...]
) -> None:
    model, inputs = tiny_grounder(**changes), tiny_inputs()
    with_graph = forward(model, inputs, map_boxes=map_boxes)
    assert with_graph.scores.requires_grad
    assert with_graph.image_score.logit.requires_grad
    with torch.no_grad():
        without = forward(model, inputs, map_boxes=map_boxes)
    assert close(with_graph, without)
    assert without.own_cam.any()
    assert not any(value.requires_grad for value in numbers(without))
    assert not without.image_score.proposal_scores.requires_grad
    similarity = without.image_score.similarity
    assert similarity is None or not similarity.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@every_way
def test_texts_that_share_an_image_equal_texts_with_a_copy_each(
    changes: dict[str, Any], map_boxes: tuple[float, ...]
) -> None:
    model, inputs = tiny_grounder(**changes), tiny_inputs()
    owner = torch.tensor([0, 0, 1])
    copies = tiny_inputs()
    copies.features, copies.proposals = inputs.features[owner], inputs.proposals.take(owner)
    images = torch.tensor([0, 1])
    pairs = (inputs.features[images], inputs.proposals.take(images), inputs.tokens, inputs.mask, owner)
    shared = model(*pairs, inputs.cam, order="first", map_boxes=map_boxes)
    assert close(shared, forward(model, copies, map_boxes=map_boxes))
    assert torch.equal(shared.candidates.boxes[:, :COUNT], copies.proposals.boxes)


@pytest.mark.parametrize(
    ("changes", "cam", "map_boxes", "scorings"),
    [
        ({"cam_encoder": OFF}, True, (), 1),
        ({}, False, (), 1),
        ({}, True, (), 2),
        ({"cam_encoder": OFF}, True, (0.5,), 2),
    ],
)
def test_proposals_are_scored_once_where_there_is_nothing_new_to_see(
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    cam: bool,
    map_boxes: tuple[float, ...],
    scorings: int,
) -> None:
    calls = []
    score = Grounder.score

    def counted(self: Grounder, *arguments: Any) -> Tensor:
        calls.append(arguments)
        return score(self, *arguments)

    monkeypatch.setattr(Grounder, "score", counted)
    forward(tiny_grounder(**changes), tiny_inputs(), show_cam=cam, map_boxes=map_boxes)
    assert len(calls) == scorings


def test_the_grounder_is_built_on_the_matchers_own_parameters() -> None:
    matcher = tiny_matcher()
    model = Grounder(matcher, tiny_grounder().config).double()
    assert model.matcher is matcher
    held = dict(model.named_parameters())
    for name, parameter in matcher.named_parameters():
        assert held[f"matcher.{name}"] is parameter
    inputs = tiny_inputs()
    output = forward(model, inputs)
    output.image_score.logit.sum().backward()
    assert matcher.trunk.stem.weight.grad is not None
    assert matcher.trunk.stem.weight.grad.any()


@pytest.mark.parametrize("relations", [0, 2])
def test_the_image_score_adds_the_matchers_own_to_the_proposals(relations: int) -> None:
    model, inputs = tiny_grounder(relations), tiny_inputs()
    images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
    image_score = model.image_score(images, texts)
    pooled = image_score.proposal_scores.logsumexp(-1) - torch.tensor(float(COUNT)).log()
    matcher = model.matcher
    similarity = matcher.similarity(images.map, texts)
    own = matcher.logits(similarity) / matcher.scale.exp()
    expected = pooled + model.cell_scale.exp() * own + model.image_bias
    assert torch.allclose(image_score.logit, expected, atol=1e-9)
    # a caller that has the similarity already gets the same
    again = model.image_score(images, texts, similarity)
    assert torch.equal(again.logit, image_score.logit)
    assert torch.equal(again.proposal_scores, image_score.proposal_scores)


def test_a_cell_changed_behind_the_proposals_is_seen_unless_regions_are_all() -> None:
    inputs = tiny_inputs()
    for regions_only in (False, True):
        model = tiny_grounder(regions_only=regions_only)
        images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
        contrastive = late_scores(model, images, texts)
        image = model.image_score(images, texts).logit
        images.map = images.map.flip(0) * 2
        assert torch.equal(contrastive, late_scores(model, images, texts)) == regions_only
        assert torch.equal(image, model.image_score(images, texts).logit) == regions_only
        images.regions = images.regions.flip(0)
        assert not torch.allclose(contrastive, late_scores(model, images, texts))
        assert not torch.allclose(image, model.image_score(images, texts).logit)


def test_with_regions_alone_the_contrastive_loss_trains_what_chooses() -> None:
    """Region by region, the late score and the final one agree on which proposal is meant."""
    model = tiny_grounder(regions_only=True, cam_encoder=OFF, transformer=OFF, fusion=OFF)
    model.objectness_weight.data.zero_()
    inputs = tiny_inputs()
    images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
    regions = torch.nn.functional.normalize(images.regions, dim=-1)
    similarity = torch.einsum("pd,pkd->pk", texts.phrase, regions)
    scores = forward(model, inputs).scores
    assert torch.equal(scores.argsort(-1), similarity.argsort(-1))
    late = late_scores(model, images, texts).diagonal()
    temperature = model.matcher.config.temperature
    pooled = (similarity / temperature).logsumexp(-1) - torch.tensor(float(COUNT)).log()
    assert torch.allclose(late, model.contrastive_scale.exp() * temperature * pooled, atol=1e-9)


def test_contrastive_logits_of_all_pairs_equal_those_of_each_pair() -> None:
    for changes in ({}, {"regions_only": True}, {"relations": 0}):
        model, inputs = tiny_grounder(**changes), tiny_inputs()
        inputs.proposals.valid[0, 3:] = False
        images, texts = see(model, inputs), model.matcher.read(inputs.tokens, inputs.mask)
        table = late_scores(model, images, texts)
        for row in range(PAIRS):
            for column in range(PAIRS):
                alone = images.take(torch.tensor([row])), texts.take(torch.tensor([column]))
                one = late_scores(model, *alone)
                assert torch.allclose(table[row, column], one[0, 0], atol=1e-9)


def test_a_joined_text_is_scored_as_alone() -> None:
    model, inputs = tiny_grounder(), tiny_inputs()
    images, read = see(model, inputs), model.matcher.read
    short = read(inputs.tokens[1:2, :2], inputs.mask[1:2, :2])
    long = read(inputs.tokens[:1], inputs.mask[:1])
    together = model.image_score(images.take(torch.tensor([2, 0])), Texts.join(short, long))
    for row, (image, text) in enumerate(((2, short), (0, long))):
        alone = model.image_score(images.take(torch.tensor([image])), text)
        assert torch.allclose(together.proposal_scores[row], alone.proposal_scores[0], atol=1e-9)
        assert torch.allclose(together.logit[row], alone.logit[0], atol=1e-9)


@pytest.mark.parametrize("show_cam", [True, False])
def test_a_fresh_model_scores_as_one_without_fusion_and_transformer(show_cam: bool) -> None:
    """What is added starts from zero: it changes nothing until it has learnt to."""
    inputs = tiny_inputs()
    for make, same in ((fresh_grounder, True), (tiny_grounder, False)):
        model = make()
        whole = forward(model, inputs, show_cam, map_boxes=[0.5])
        for part, without in (("blocks", torch.nn.ModuleList()), ("fusion", None)):
            setattr(model, part, without)
            less = forward(model, inputs, show_cam, map_boxes=[0.5])
            assert close(whole, less) == same, part
            assert torch.allclose(whole.scores, less.scores, atol=1e-9) == same, part


@pytest.mark.parametrize("changes", [{}, {"relations": 0, "cam_encoder": OFF}])
def test_of_a_fresh_model_the_proposal_around_the_cells_that_fit_scores_highest(
    changes: dict[str, Any],
) -> None:
    model, inputs = fresh_grounder(**changes), tiny_inputs()
    texts = model.matcher.read(inputs.tokens, inputs.mask)
    other = torch.randn(texts.phrase.shape, generator=torch.Generator().manual_seed(0)).double()
    away = torch.nn.functional.normalize(other - (other * texts.phrase).sum(-1, True) * texts.phrase, dim=-1)
    fits = torch.zeros(GRID, GRID, dtype=torch.bool)
    fits[2:6, 2:5] = True
    visual = torch.where(fits, texts.phrase[..., None, None], away[..., None, None])
    visual = visual * texts.phrase.shape[-1] ** 0.5  # the trunk's cells are of unit root mean square
    around = [2 / 8, 2 / 8, 5 / 8, 6 / 8]
    others = [[2 / 8, 2 / 8, 5 / 8, 4 / 8], [0, 0, 1, 1], [5 / 8, 2 / 8, 1, 6 / 8], [0, 0, 5 / 8, 6 / 8]]
    boxes = torch.tensor([[*others[:2], around, *others[2:]]] * PAIRS).double()
    even = torch.full((PAIRS, COUNT), 0.5).double()
    images = model.see(visual, Proposals(boxes, even, torch.ones(PAIRS, COUNT, dtype=torch.bool)))
    assert model.image_score(images, texts).proposal_scores.argmax(-1).tolist() == [2] * PAIRS
