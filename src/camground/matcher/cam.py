"""A CAM source at work: maps of images and texts, by the study's own matcher or by a pretrained one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Self

import numpy as np
import torch
from torch import Tensor

from camground.data.photographs import Source
from camground.matcher.cam_sources import SOURCES
from camground.matcher.config import GradcamConfig
from camground.matcher.matcher import Matcher


@dataclass(frozen=True)
class OwnNetworks:
    """The study's own matcher, and what encodes texts: token vectors (M, T, width) and mask (M, T)."""

    matcher: Matcher
    encode_texts: Callable[[list[str]], tuple[Tensor, Tensor]]


class CamSource(ABC):
    """Maps of (image, text) pairs in batches; a context manager, whose end takes its hooks off the model.

    name: what the table `cams` says of the maps.
    """

    name: str

    @abstractmethod
    def __init__(self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None) -> None:
        """`own`: of a source that reads features. Raises `UserError` for keys that cannot be."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @abstractmethod
    def __call__(self, images: Tensor, owner: Tensor, texts: list[str]) -> np.ndarray:
        """Maps (M, h, w) float32 in [0, 1]; a text without any evidence gets zeros.

        images: B of them, as the source `reads` them: features (B, C, H, W) of the cache, or photographs
        (B, 3, H, W) from `read`; owner (M,) int: the image of each of the M texts. An image goes through the
        layers that no text reaches once, however many texts it has.
        """

    @abstractmethod
    def release(self) -> None:
        """Take the hooks off the model."""

    def read(self, photograph: Source) -> Tensor:
        """A photograph (3, H, W) float32 as the model sees it, of a source that reads photographs."""
        raise TypeError(f"{type(self).__name__} reads features")


def open_cam(config: GradcamConfig, device: torch.device, own: OwnNetworks | None = None) -> CamSource:
    """The source that the config names, ready on the device; see `CamSource`."""
    source: type[CamSource] = resolve_name(SOURCES[config.source].cam)
    return source(config, device, own)
