"""The Grad-CAM of the study's own matcher, from the cached features, as a CAM source."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from camground.matcher.cam import CamSource, OwnNetworks
from camground.matcher.config import GradcamConfig
from camground.matcher.gradcam import MatcherCam


class OwnCam(CamSource):
    """`MatcherCam` by `gradcam.method`."""

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
