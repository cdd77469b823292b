"""Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) of the matcher's score.

ReLU comes before the scaling to [0, 1], as in the paper: scaling first would turn a map of mere
counter-evidence into evidence. Plain Grad-CAM, which the default study and every model of it draw, is written
out here, to the bytes of pytorch-grad-cam (a test compares them), whose import takes as long as PyTorch's;
that library draws the variants of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camground.matcher.cam import CamSource, OwnNetworks
from camground.matcher.config import CAM_CLASSES, GradcamConfig
from camground.matcher.gated_map import gated
from camground.matcher.matcher import Matcher, Texts


class _PairedScore(nn.Module):
    """The matcher's score with fixed texts, as pytorch-grad-cam can call it: from the trunk's map,
    so that one pass of the trunk serves all expressions of an image."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.matcher = matcher
        self.map = nn.Identity()
        self.texts: Texts | None = None

    def forward(self, visual: Tensor) -> Tensor:
        assert self.texts is not None
        similarity = self.matcher.similarity(self.map(visual), self.texts)
        return self.matcher.logits(similarity).unsqueeze(1)


class GradCam:
    """Grad-CAM of a score of maps (M, C, H, W), as pytorch-grad-cam's class of that name draws it."""

    def __init__(self, score: nn.Module) -> None:
        self.score = score

    def __call__(self, visual: Tensor) -> np.ndarray:
        """Maps (M, H, W) float32 in [0, 1] of the scores (M, 1) of `visual`."""
        visual = visual.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.score(visual).sum(), visual)
        alpha = gradient.cpu().numpy().mean((2, 3))
        maps = np.maximum((alpha[:, :, None, None] * visual.detach().cpu().numpy()).sum(1), 0)
        for _ in range(2):  # which the library does for each layer, and for their mean
            maps = maps - maps.min((1, 2), keepdims=True)
            maps = maps / (1e-7 + maps.max((1, 2), keepdims=True))
        drawn: np.ndarray = maps
        return drawn

    def release(self) -> None:
        """There are no hooks."""


class LibraryCam:
    """A variant of Grad-CAM, drawn by pytorch-grad-cam's class of the name."""

    def __init__(self, score: _PairedScore, class_name: str) -> None:
        cam_class = getattr(import_module("pytorch_grad_cam"), class_name)
        self._cam: Any = cam_class(model=score, target_layers=[score.map])
        # set here, since not every method's constructor passes it on
        self._cam.compute_input_gradient = True

    def __call__(self, visual: Tensor) -> np.ndarray:
        """As `GradCam`."""
        maps: np.ndarray = self._cam(input_tensor=visual, targets=[lambda output: output[0]] * len(visual))
        return maps

    def release(self) -> None:
        """Take the hooks off the model."""
        self._cam.activations_and_grads.release()


class MatcherCam:
    """Grad-CAM maps of (image, text) pairs in batches, by one of `CAM_CLASSES`.

    Use as a context manager: a library's hooks are released at its end.
    """

    def __init__(self, matcher: Matcher, method: str = "gradcam") -> None:
        self.matcher, self.method = matcher.eval(), method
        self._score = _PairedScore(matcher)
        plain = CAM_CLASSES[method] == "GradCAM"
        self._cam: GradCam | LibraryCam
        self._cam = GradCam(self._score) if plain else LibraryCam(self._score, CAM_CLASSES[method])

    def __enter__(self) -> MatcherCam:
        return self

    def __exit__(self, *error: object) -> None:
        self._cam.release()

    def __call__(self, features: Tensor, owner: Tensor, tokens: Tensor, mask: Tensor) -> np.ndarray:
        """Maps (M, H, W) float32 in [0, 1]; an expression without any evidence gets zeros.

        features (B, C, H, W) of the images; owner (M,) int: the image of each expression; tokens
        (M, T, text_width), mask (M, T) bool of the expressions.
        """
        with torch.no_grad():
            texts = self._score.texts = self.matcher.read(tokens, mask)
            visual = self.matcher.trunk(features)[owner].contiguous()
        with torch.enable_grad():
            maps = self._cam(visual)
        if self.method != "gated":
            return maps
        with torch.no_grad():
            shares = self.matcher.cell_shares(self.matcher.similarity(visual, texts))
            kept = gated(torch.from_numpy(maps).to(shares), shares.unflatten(-1, maps.shape[-2:]))
        scaled: np.ndarray = kept.cpu().numpy()
        scaled /= np.maximum(scaled.max((1, 2), keepdims=True), 1e-12)
        return scaled


class OwnCam(CamSource):
    """`MatcherCam` by `gradcam.method`, as a CAM source."""

    def __init__(self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None) -> None:
        if own is None:
            raise TypeError("the study's own matcher is needed")
        self._encode_texts, self._device = own.encode_texts, device
        self._cam = MatcherCam(own.matcher.to(device), config.method)
        self.name = f"{config.method}:trunk"

    def __call__(self, images: Tensor, owner: Tensor, texts: list[str]) -> np.ndarray:
        with torch.no_grad():
            tokens, mask = self._encode_texts(texts)
        return self._cam(*(each.to(self._device) for each in (images, owner, tokens, mask)))

    def release(self) -> None:
        self._cam.__exit__()
