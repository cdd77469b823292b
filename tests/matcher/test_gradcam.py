"""Grad-CAM of the matcher's score: the textbook's, alike in batches and alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from camground.matcher.config import CAM_CLASSES, GradcamConfig
from camground.matcher.gated_map import gate
from camground.matcher.gradcam import MatcherCam
from camground.matcher.matcher import Matcher, load_matcher
from camground.study.checkpoints import save_checkpoint
from camground.study.errors import UserError
from tiny_grounder import CHANNELS, TEXT_WIDTH, tiny_matcher

OWNER = torch.tensor([0, 1, 2, 2])


def make() -> tuple[Matcher, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matcher, features of three images, tokens and mask of four texts."""
    model = tiny_matcher().float()
    torch.manual_seed(1)
    mask = torch.tensor([[True] * 3, [True, False, False], [True, True, False], [True] * 3])
    tokens = torch.randn(4, 3, TEXT_WIDTH) * mask[..., None]
    return model, torch.randn(3, CHANNELS, 5, 7), tokens, mask


def by_hand(model: Matcher, features: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """Selvaraju et al. 2017, eq. 1 and 2, of one pair at the trunk's map, scaled to [0, 1]."""
    visual = model.trunk(features).detach().requires_grad_()
    score = model.logits(model.similarity(visual, model.read(tokens, mask)))[0]
    (gradient,) = torch.autograd.grad(score, visual)
    alpha = gradient[0].mean((1, 2))
    cam = torch.relu((alpha[:, None, None] * visual[0]).sum(0)).detach()
    cam = cam - cam.min()
    scaled: np.ndarray = (cam / (cam.max() + 1e-7)).numpy()
    return scaled


def test_pytorch_grad_cam_equals_grad_cam_by_hand() -> None:
    model, features, tokens, mask = make()
    with MatcherCam(model, "gradcam") as cam:
        maps = cam(features, OWNER, tokens, mask)
    for row in range(4):
        expected = by_hand(model, features[OWNER[[row]]], tokens[[row]], mask[[row]])
        assert np.allclose(maps[row], expected, atol=1e-4)


def test_the_gated_map_is_the_textbooks_kept_to_where_the_score_rests() -> None:
    model, features, tokens, mask = make()
    with MatcherCam(model, "gated") as cam:
        maps = cam(features, OWNER, tokens, mask)
    for row in range(4):
        whole = by_hand(model, features[OWNER[[row]]], tokens[[row]], mask[[row]])
        texts = model.read(tokens[[row]], mask[[row]])
        similarity = model.similarity(model.trunk(features[OWNER[[row]]]), texts).detach()
        shares = model.cell_shares(similarity).unflatten(-1, (5, 7))
        kept = whole * gate(torch.from_numpy(whole)[None], shares)[0].numpy()
        assert np.allclose(maps[row], kept / kept.max(), atol=1e-4)


def test_cams_in_a_batch_equal_cams_alone_and_hooks_are_released() -> None:
    model, features, tokens, mask = make()
    with MatcherCam(model) as cam:
        together = cam(features, OWNER, tokens, mask)
        for row in range(4):
            first = torch.tensor([0])
            alone = cam(features[OWNER[[row]]], first, tokens[[row]], mask[[row]])
            assert np.allclose(together[row], alone[0], atol=1e-5)
        score = cam._score
    for module in [*model.modules(), *score.modules()]:
        assert not module._forward_hooks


@pytest.mark.parametrize("method", CAM_CLASSES)
def test_every_method_gives_maps_from_zero_to_one(method: str) -> None:
    model, features, tokens, mask = make()
    with MatcherCam(model, method) as cam:
        maps = cam(features, OWNER, tokens, mask)
    assert maps.shape == (4, 5, 7)
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_an_unknown_method_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match=r"gradcam\.method.*gradcam\+\+.*'scorecam'"):
        GradcamConfig.parse({"method": "scorecam"}, "gradcam")
    assert GradcamConfig.model_json_schema()["properties"]["method"]["enum"] == [*CAM_CLASSES]


def test_a_matcher_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    model, features, tokens, mask = make()
    save_checkpoint(tmp_path, model.state_dict(), {"matcher": model.config.to_dict()})
    loaded = load_matcher(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    texts = (loaded.read(tokens[:3], mask[:3]), model.read(tokens[:3], mask[:3]))
    assert torch.equal(loaded(features, texts[0]), model(features, texts[1]))
