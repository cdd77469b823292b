"""The backbone: photographs to a grid of features, from several levels of a network.

The default weights are EfficientNet-Lite0 trained on ImageNet, shipped by a pip package. The other networks
that can stand in its place are in `camground.features.extractors`.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.features.config import BackboneConfig
from camground.features.extractors import Extractor, open_extractor
from camground.study.errors import UserError


class Backbone(nn.Module):
    """RGB bytes to grid features; frozen (until `features.tuned`), but differentiable in its input.

    forward: images (B, 3, H, W) float in [0, 255], any H and W -> (B, channels, grid, grid) float, each
    level scaled to unit root mean square over its channels so that no level drowns another. `channels` and,
    where the config leaves it open, `grid` are those of the network.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        extractor = open_extractor(config)
        self.body = extractor.body
        if config.weights is not None:
            load_weights(self.body, Path(config.weights))
        self.mean: Tensor
        self.deviation: Tensor
        for name in ("mean", "deviation"):
            value = torch.tensor(getattr(extractor, name)).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.requires_grad_(False)
        self.eval()
        shapes = self._level_shapes(extractor)
        self.channels = sum(shape[0] for shape in shapes)
        self.grid: int = config.grid or max(shape[1] for shape in shapes)

    def train(self, mode: bool = True) -> Backbone:
        """Batch norm keeps its statistics, and nothing is dropped, in training too."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        size = (self.config.image_size, self.config.image_size)
        if tuple(images.shape[-2:]) != size:
            images = functional.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        grid = (self.grid, self.grid)
        scaled = []
        for level in self.body((images - self.mean) / self.deviation):
            level = level.float()
            level = level * torch.rsqrt(level.square().mean(1, keepdim=True) + 1e-6)
            if tuple(level.shape[-2:]) != grid:
                level = functional.interpolate(level, grid, mode="bilinear", align_corners=False)
            scaled.append(level)
        return torch.cat(scaled, dim=1)

    def _level_shapes(self, extractor: Extractor) -> list[tuple[int, int, int]]:
        """(channels, height, width) of each level's map of a photograph, from one of zeros.

        Raises `UserError` when the network cannot take that size, or would not look at its edge.
        """
        size = self.config.image_size
        key = "features.backbone.image_size"
        try:
            with torch.no_grad():
                levels = self.body(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"{key}: {self.config.name} cannot take {size} x {size} pixels: {reason}"
            ) from None
        strides = extractor.strides or [
            extractor.patch * 2 ** round(math.log2(size / level.shape[-1] / extractor.patch))
            for level in levels
        ]
        for level, stride in zip(levels, strides, strict=True):
            if size % stride and level.shape[-1] * stride < size:
                whole = max(size // max(strides), 1) * max(strides)
                raise UserError(
                    f"{key}: {self.config.name} would not see the edge of {size} x {size} pixels, which"
                    f" its cells of {stride} pixels do not fill; set {whole}"
                )
        return [(level.shape[1], level.shape[2], level.shape[3]) for level in levels]


def load_weights(body: nn.Module, file: Path) -> None:
    """Give the network the weights of `file`; `UserError` where it is none, or of another network."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        body.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: no whole file of weights ({error}); rerun `tuning`") from None
    except RuntimeError:
        raise UserError(
            f"{file}: the weights are not those of the network that features.backbone names; rerun `tuning`"
        ) from None
