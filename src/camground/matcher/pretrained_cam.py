"""Grad-CAM of a pretrained vision-language model: what BLIP, CLIP and SigLIP have in common.

A model is opened by `pretrained.open_pretrained` and used as a context manager; its hooks then go away.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from camground.matcher.checkpoints import Checkpoint, picture_size, read_picture

ENCODED = 16  # pictures that go through an image tower at a time; bounds its memory
Cam = TypeVar("Cam", bound="PretrainedCam")


@dataclass(frozen=True)
class BlipCamConfig:
    """`layer`: of the text encoder, whose cross-attention the map is; from 0, negative from the end.

    `heads`: "mean", or the number of one head. `tokens`: "mean", "max", or the number of one token among
    those that count (from 0, negative from the end; a shorter text gives its nearest). `special_tokens`:
    [CLS] and [SEP] count; padding never does.
    """

    layer: int | str = 7
    heads: int | str = "mean"
    tokens: int | str = "mean"
    special_tokens: bool = True


@dataclass(frozen=True)
class ClipCamConfig:
    """`method`: of pytorch-grad-cam, see `matching.gradcam.METHODS`. `layer`: of the image encoder, at
    whose normed input the map is taken; from 0, negative from the end."""

    method: str = "gradcam"
    layer: int | str = -1


@dataclass(frozen=True)
class SiglipCamConfig:
    """As `ClipCamConfig`; `layer` may also be "output", the grid that the pooling head reads."""

    method: str = "gradcam"
    layer: int | str = "output"


class PretrainedCam(ABC):
    """Maps of (picture, text) pairs in batches.

    size: (height, width) of the pictures in pixels. grid: (height, width) of the maps in patches.
    source: what the `cams` table says of them.
    """

    source: str

    def __init__(self, checkpoint: Checkpoint, image_size: list[int] | None) -> None:
        self.checkpoint = checkpoint
        self.size = picture_size(checkpoint, image_size)
        patch = int(checkpoint.model.config.vision_config.patch_size)
        self.grid = (self.size[0] // patch, self.size[1] // patch)

    def __enter__(self: Cam) -> Cam:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @property
    def device(self) -> torch.device:
        where: torch.device = next(self.checkpoint.model.parameters()).device
        return where

    def picture(self, path: str | Path) -> Tensor:
        """A photograph as (3, *size) float32, for `__call__`."""
        return read_picture(self.checkpoint, path, self.size)

    def __call__(self, pictures: Tensor, owner: Tensor, texts: list[str]) -> np.ndarray:
        """Maps (M, *grid) float32 in [0, 1]; a text without any evidence gets zeros.

        pictures (B, 3, *size); owner (M,) int: the picture of each of the M texts. A picture goes through
        the image tower once, however many texts it has.
        """
        with torch.no_grad():
            parts = pictures.to(self.device).split(ENCODED)
            hidden = torch.cat([self.encode(part) for part in parts])
        return self.maps(hidden[owner.to(self.device)], texts)

    @abstractmethod
    def encode(self, pictures: Tensor) -> Tensor:
        """Tokens (B, class tokens + cells, width) of pictures (B, 3, *size)."""

    @abstractmethod
    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        """As `__call__`, from the tokens (M, T, width) of each text's own picture."""

    @abstractmethod
    def release(self) -> None:
        """Take the hooks off the model."""


def layer_number(value: int | str, count: int) -> int | None:
    """`value` (text when it came from a command line) as an index below `count`; None if it is none."""
    try:
        number = int(value)
    except ValueError:
        return None
    return number % count if -count <= number < count else None
