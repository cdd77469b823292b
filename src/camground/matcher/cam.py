"""A CAM source at work: maps of images and texts, by the study's own matcher or by a pretrained one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from camground.matcher.cam_sources import SOURCES
from camground.matcher.checkpoints import load_checkpoint
from camground.matcher.config import GradcamConfig
from camground.matcher.matcher import Matcher
from camground.study.errors import UserError

ENCODED = 16  # photographs that go through an image tower at a time; bounds its memory


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
    def __init__(
        self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None
    ) -> None:
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

    def read(self, path: str | Path) -> Tensor:
        """A photograph (3, H, W) float32 as the model sees it, of a source that reads photographs."""
        raise TypeError(f"{type(self).__name__} reads features")


def open_cam(
    config: GradcamConfig, device: torch.device, own: OwnNetworks | None = None
) -> CamSource:
    """The source that the config names, ready on the device; see `CamSource`."""
    source: type[CamSource] = resolve_name(SOURCES[config.source].cam)
    return source(config, device, own)


class PretrainedCam(CamSource):
    """A pretrained vision-language model of transformers.

    kind: its model type, which is the source's name. model_class: the class of transformers that loads it.
    settings: the source's own section of the config. size: (height, width) of photographs in pixels. grid:
    (height, width) of the maps in patches.
    """

    kind: str
    model_class: str

    def __init__(
        self, config: GradcamConfig, device: torch.device, own: OwnNetworks | None = None
    ) -> None:
        self.settings: Any = getattr(config, self.kind)
        self.checkpoint = load_checkpoint(str(config.model), self.kind, self.model_class)
        self.model: Any = self.checkpoint.model.to(device)
        self.device = device
        self.size = self.checkpoint.size(config.image_size)
        patch = self.checkpoint.patch
        self.grid = (self.size[0] // patch, self.size[1] // patch)

    def read(self, path: str | Path) -> Tensor:
        return self.checkpoint.view(path, self.size)

    def __call__(self, images: Tensor, owner: Tensor, texts: list[str]) -> np.ndarray:
        with torch.no_grad():
            parts = images.to(self.device).split(ENCODED)
            hidden = torch.cat([self.encode(part) for part in parts])
        return self.maps(hidden[owner.to(self.device)], texts)

    @abstractmethod
    def encode(self, photographs: Tensor) -> Tensor:
        """Tokens (B, class tokens + cells, width) of photographs (B, 3, *size)."""

    @abstractmethod
    def maps(self, hidden: Tensor, texts: list[str]) -> np.ndarray:
        """As `__call__`, from the tokens (M, T, width) of each text's own photograph."""

    def index(self, key: str, count: int, what: str, words: tuple[str, ...] = ()) -> int | None:
        """The setting `key` as an index below `count`, None for one of `words`; `UserError` otherwise."""
        value = getattr(self.settings, key)
        if value in words:
            return None
        if not -count <= value < count:
            also = "".join(f", or {word}" for word in words)
            raise UserError(
                f"gradcam.{self.kind}.{key}: {value!r}; the model has {count} {what}: 0 to {count - 1}, or"
                f" -{count} to -1 from the end{also}"
            )
        return int(value) % count
