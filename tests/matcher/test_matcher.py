"""The matcher, the contrastive loss and the Grad-CAM of the score."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from camground.data.pairs import Batch, Swaps
from camground.grounder.regions import Proposals
from camground.matcher.gradcam import MatcherCam
from camground.matcher.matcher import Matcher, MatcherConfig
from camground.stages.matcher import batch_logits, swap_loss
from camground.study.errors import UserError
from camground.training.contrastive import info_nce, positives
from camground.training.distillation import (
    DistillationConfig,
    contrast,
    distillation,
    object_belief,
    ranking,
    teacher,
)


def make(word_share=0.3):
    torch.manual_seed(0)
    model = Matcher(MatcherConfig(width=12, word_share=word_share), 6, 10).eval()
    features = torch.randn(3, 6, 5, 7)
    tokens = torch.randn(4, 3, 10)
    mask = torch.tensor([[True] * 3, [True, False, False], [True, True, False], [True] * 3])
    return model, features, tokens * mask[..., None], mask


@pytest.mark.parametrize("word_share", [0.0, 0.3, 1.0])
def test_all_pairs_equals_paired(word_share):
    model, features, tokens, mask = make(word_share)
    table = model.all_pairs(features, model.queries(tokens, mask))
    for text in range(4):
        for image in range(3):
            alone = model(features[[image]], tokens[[text]], mask[[text]])
            assert torch.allclose(table[image, text], alone[0], atol=1e-5)


def test_padding_of_texts_changes_nothing():
    model, features, tokens, mask = make()
    short = model(features[:1], tokens[1:2, :1], mask[1:2, :1])
    long = model(features[:1], tokens[1:2], mask[1:2])
    assert torch.allclose(short, long, atol=1e-6)


@pytest.mark.parametrize("layer", ["trunk", "trunk.stem", "trunk.blocks.0"])
def test_pytorch_grad_cam_equals_grad_cam_by_hand(layer):
    model, features, tokens, mask = make()
    owner = torch.tensor([0, 1, 2, 2])
    with MatcherCam(model, "gradcam", layer) as cam:
        found = cam(features, owner, tokens, mask)
    kept = {}
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: kept.update(activation=output)
    )
    for row in range(4):
        score = model(features[owner[row : row + 1]], tokens[[row]], mask[[row]])[0]
        (gradient,) = torch.autograd.grad(score, kept["activation"])
        alpha = gradient[0].mean((1, 2))  # Selvaraju et al. 2017, eq. 1
        by_hand = torch.relu((alpha[:, None, None] * kept["activation"][0]).sum(0))  # eq. 2
        by_hand = by_hand - by_hand.min()
        by_hand = (by_hand / (by_hand.max() + 1e-7)).detach().numpy()
        assert np.allclose(found[row], by_hand, atol=1e-4)
    handle.remove()


def test_cams_in_a_batch_equal_cams_alone_and_hooks_are_released():
    model, features, tokens, mask = make()
    owner = torch.tensor([0, 1, 2, 2])
    with MatcherCam(model) as cam:
        together = cam(features, owner, tokens, mask)
        for row in range(4):
            at = torch.tensor([0])
            alone = cam(features[owner[[row]]], at, tokens[[row]], mask[[row]])
            assert np.allclose(together[row], alone[0], atol=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("method", ["gradcam++", "hirescam", "layercam", "xgradcam", "gated"])
def test_other_methods_give_maps(method):
    model, features, tokens, mask = make()
    with MatcherCam(model, method) as cam:
        found = cam(features, torch.tensor([0, 1, 2, 2]), tokens, mask)
    assert found.shape == (4, 5, 7)
    assert found.min() >= 0
    assert found.max() <= 1


def test_unknown_method_and_layer_are_named():
    model = make()[0]
    with pytest.raises(UserError, match=r"gradcam\.method"):
        MatcherCam(model, "scorecam")
    with pytest.raises(UserError, match=r"gradcam\.layer.*trunk\.stem"):
        MatcherCam(model, "gradcam", "trunk.stemm")


def test_expressions_of_the_same_image_or_text_are_no_negatives():
    good = positives(torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 5, 7]), 3)
    expected = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]]).bool()
    assert torch.equal(good, expected)


def test_info_nce_is_cross_entropy_with_one_positive_each():
    logits = torch.randn(4, 4)
    expected = (
        functional.cross_entropy(logits, torch.arange(4))
        + functional.cross_entropy(logits.T, torch.arange(4))
    ) / 2
    assert torch.allclose(info_nce(logits, torch.eye(4).bool()), expected, atol=1e-5)


def test_info_nce_ignores_the_size_of_other_positives():
    logits, good = torch.zeros(2, 3), torch.tensor([[1, 1, 0], [0, 0, 1]]).bool()
    before = info_nce(logits, good)
    raised = logits.clone()
    raised[0, 0] = 5.0
    assert info_nce(raised, good) < before


def test_ranking_is_the_formula_and_the_teacher_follows_it():
    cam = torch.zeros(1, 8, 8)
    cam[0, 2:4, 2:4] = 1.0
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.6, 0.6, 0.9, 0.9]]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    score = ranking(cam, boxes, valid, 0.5)
    assert torch.allclose(score, torch.tensor([[1.0, 0.25, 0.0]]), atol=1e-5)
    proposals = Proposals(boxes, torch.zeros(1, 3), valid)
    assert contrast(cam, boxes, valid).argmax() == 0
    assert (contrast(torch.zeros(1, 8, 8), boxes, valid) == 0).all()
    target = teacher(DistillationConfig(), cam, boxes[:, 0], proposals)
    assert target.sum() == pytest.approx(1)
    assert target.argmax() == 0
    perfect = distillation(target.log(), target, valid)
    assert perfect == pytest.approx(0, abs=1e-5)
    assert distillation(torch.zeros(1, 3), target, valid) > perfect


def made_teacher(belief, trust=1.0, weight=1.0, valid=(True, True, True)):
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0], [0.6, 0.6, 0.9, 0.9]]])
    proposals = Proposals(boxes, torch.tensor([[0.3, 0.9, 0.5]]), torch.tensor([valid]))
    cam = torch.zeros(1, 8, 8)
    cam[0, 2:4, 2:4] = 1.0
    config = DistillationConfig(temperature=1.0, belief=weight)
    return teacher(config, cam, boxes[:, 0], proposals, belief, trust)


def test_the_teacher_multiplies_its_odds_by_the_belief():
    belief = torch.tensor([[-1.0, 0.5, 4.0]])
    plain = made_teacher(None)
    for trust, weight in ((1.0, 1.0), (0.25, 1.0), (1.0, 0.5), (0.5, 3.0)):
        expected = (plain.log() + trust * weight * belief).softmax(-1)
        found = made_teacher(belief, trust, weight)
        assert torch.allclose(found, expected, atol=1e-6)
    assert plain.argmax() == 0
    assert made_teacher(belief).argmax() == 2
    # not before its time, and not where it is switched off
    assert torch.equal(made_teacher(belief, trust=0.0), plain)
    assert torch.equal(made_teacher(belief, weight=0.0), plain)


def test_the_belief_in_an_object_is_that_in_all_boxes_on_it():
    boxes = [[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.4, 0.2], [0.6, 0.6, 0.8, 0.8], [0.0, 0.0, 1.0, 1.0]]
    boxes = torch.tensor([boxes])
    scores = torch.tensor([[0.5, 0.3, 0.2, 0.9]]).log()
    known = Proposals(boxes, torch.zeros(1, 4), torch.tensor([[True, True, True, False]]))
    # the padding is believed in by nobody, whatever its score
    expected = torch.tensor([[0.5 + 0.3 / 2, 0.5 / 2 + 0.3, 0.2]])
    found = object_belief(scores, known, known).exp()
    assert torch.allclose(found[:, :3], expected, atol=1e-5)
    # asked of further boxes: the rest of the first, and one that none overlaps
    more = torch.tensor([[[0.0, 0.2, 0.4, 0.4], [0.9, 0.0, 1.0, 0.1]]])
    asked = Proposals(more, torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    found = object_belief(scores, known, asked)
    assert found.exp()[0, 0] == pytest.approx(0.25, abs=1e-5)
    assert torch.isfinite(found).all()
    assert found[0, 1] < -5


def test_the_teacher_believes_in_no_padding():
    for padding in (-torch.inf, 50.0):
        belief = torch.tensor([[0.2, 1.0, padding]])
        target = made_teacher(belief, valid=(True, True, False))
        assert torch.isfinite(target).all()
        assert target[0, 2] == 0
        assert target.sum() == pytest.approx(1)
    nothing = made_teacher(torch.full((1, 3), -torch.inf), valid=(False, False, False))
    assert torch.allclose(nothing, torch.full((1, 3), 1 / 3))


class Texts:
    """Stands for a FeatureStore: images and texts as random vectors."""

    def __init__(self, images, texts):
        make = torch.Generator().manual_seed(4)
        self.visual = torch.randn(images, 6, 5, 7, generator=make)
        self.tokens = {text: torch.randn(2, 10, generator=make) for text in texts}

    def images(self, rows):
        return self.visual[torch.as_tensor(rows)]

    def texts(self, texts):
        return torch.stack([self.tokens[text] for text in texts]), torch.ones(
            len(texts), 2, dtype=torch.bool
        )


def made_swaps():
    """Four expressions of three images; the second has no swap, that of the third is not false."""
    names = [f"text {n}" for n in range(4)]
    changed = [f"swap {n}" for n in range(3)]
    false = np.array([True, False, True])
    swaps = Swaps(changed, changed, ["colour"] * 3, np.array([0, 2, 3]), false)
    pairs = SimpleNamespace(texts=names, text_ids=np.arange(4), swaps=swaps)
    batch = Batch(
        np.array([2, 0, 1]), np.arange(4), np.array([0, 0, 1, 2]), np.array([0, -1, 1, 2])
    )
    return Texts(3, names + changed), pairs, batch, np.array([True, False, False, True])


@pytest.mark.parametrize("pool", [1, 2])
def test_swap_loss_is_the_formula(pool):
    store, pairs, batch, false = made_swaps()
    model = make()[0]
    logits, _ = batch_logits(model, store, pairs, batch, pool)
    found = swap_loss(model, store, pairs, batch, false, logits, pool)
    by_hand = []
    for image, text, swap in ((2, "text 0", "swap 0"), (1, "text 3", "swap 2")):
        visual = store.images([image])
        if pool > 1:
            visual = functional.avg_pool2d(visual, pool, ceil_mode=True)
        own, other = (model(visual, *store.texts([name])) for name in (text, swap))
        by_hand.append(functional.softplus(other - own))
    assert torch.allclose(found, torch.cat(by_hand).mean(), atol=1e-5)


def test_training_tells_expressions_from_their_swaps():
    store, pairs, batch, false = made_swaps()
    model = make()[0]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = []
    for _ in range(30):
        logits, _ = batch_logits(model, store, pairs, batch)
        loss = swap_loss(model, store, pairs, batch, false, logits)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.5 * seen[0]


def test_info_nce_with_further_negatives():
    logits, good = torch.randn(2, 3), torch.tensor([[1, 1, 0], [0, 0, 1]]).bool()
    extra = torch.tensor([[2.0, 9.0], [9.0, 9.0]])
    plain = info_nce(logits, good)
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert torch.allclose(info_nce(logits, good, extra, none), plain)
    # only the first text, and only of the first image: as if it were another text in that row
    first = torch.tensor([[True, False], [False, False]])
    by_hand = torch.zeros(())
    for row, column, against in ((0, 0, [2.0]), (0, 1, [2.0]), (1, 2, [])):
        negatives = [*logits[row][~good[row]].tolist(), *against]
        each = torch.tensor([logits[row, column].item(), *negatives]).logsumexp(0)
        by_hand = by_hand + (each - logits[row, column]) / good[row].sum()
    without_images = (
        2 * plain
        - sum(
            (torch.cat([logits[r, [c]], logits[r][~good[r]]]).logsumexp(0) - logits[r, c])
            / good[r].sum()
            for r, c in ((0, 0), (0, 1), (1, 2))
        )
        / 2
    )
    expected = (by_hand / 2 + without_images) / 2
    assert torch.allclose(info_nce(logits, good, extra, first), expected, atol=1e-5)
