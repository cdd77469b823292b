"""The matcher, the contrastive loss and the Grad-CAM of the score."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from camground.errors import UserError
from camground.losses.contrastive import info_nce, positives
from camground.losses.distillation import (
    DistillationConfig,
    contrast,
    distillation,
    ranking,
    teacher,
)
from camground.matching.gradcam import MatcherCam
from camground.matching.matcher import Matcher, MatcherConfig
from camground.model.grounder import Proposals


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
    table = model.all_pairs(features, *model.queries(tokens, mask))
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


@pytest.mark.parametrize("method", ["gradcam++", "hirescam", "layercam", "xgradcam"])
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
