"""Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) of the matcher's score, through pytorch-grad-cam.

ReLU comes before the scaling to [0, 1], as in the paper: scaling first would turn a map of mere
counter-evidence into evidence.
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


class MatcherCam:
    """Grad-CAM maps of (image, text) pairs in batches, by one of `CAM_CLASSES`.

    Use as a context manager: pytorch-grad-cam's hooks are released at its end.
    """

    def __init__(self, matcher: Matcher, method: str = "gradcam") -> None:
        self.matcher, self.method = matcher.eval(), method
        self._score = _PairedScore(matcher)
        self._cam: Any = None  # until the first map: importing the library takes as long as PyTorch

    def __enter__(self) -> MatcherCam:
        return self

    def __exit__(self, *error: object) -> None:
        if self._cam is not None:
            self._cam.activations_and_grads.release()

    def __call__(self, features: Tensor, owner: Tensor, tokens: Tensor, mask: Tensor) -> np.ndarray:
        """Maps (M, H, W) float32 in [0, 1]; an expression without any evidence gets zeros.

        features (B, C, H, W) of the images; owner (M,) int: the image of each expression; tokens
        (M, T, text_width), mask (M, T) bool of the expressions.
        """
        with torch.no_grad():
            texts = self._score.texts = self.matcher.read(tokens, mask)
            visual = self.matcher.trunk(features)[owner].contiguous()
        if self._cam is None:
            self._cam = getattr(import_module("pytorch_grad_cam"), CAM_CLASSES[self.method])(
                model=self._score, target_layers=[self._score.map]
            )
            # set here, since not every method's constructor passes it on
            self._cam.compute_input_gradient = True
        targets = [lambda output: output[0]] * len(owner)
        maps: np.ndarray = self._cam(input_tensor=visual, targets=targets)
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
        inputs = (each.to(self._device) for each in (images, owner, tokens, mask))
        with torch.enable_grad():
            return self._cam(*inputs)

    def release(self) -> None:
        self._cam.__exit__()
