"""The trainable CNN over the frozen backbone's grid: the map whose Grad-CAM is taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def coordinates(height: int, width: int) -> Tensor:
    """(6, H, W): x and y of the cells' centres in [-1, 1], their squares, product and radius."""
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y, x * x, y * y, x * y, (x * x + y * y).sqrt()])


class ResidualConv(nn.Module):
    """x + pointwise(GELU(norm(depthwise 3x3))), the cheap convolution of a CPU-sized trunk."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.project = nn.Conv2d(2 * width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.gelu(self.expand(self.norm(self.depthwise(x))))
        return x + self.dropout(self.project(hidden))


class VisualTrunk(nn.Module):
    """(B, C, H, W) backbone features -> (B, width, H, W), unit root mean square in each cell."""

    def __init__(self, channels: int, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 1)
        self.place = nn.Conv2d(6, width, 1)
        self.blocks = nn.ModuleList(ResidualConv(width, dropout) for _ in range(blocks))

    def forward(self, features: Tensor) -> Tensor:
        grid = coordinates(*features.shape[-2:]).to(features)
        x = self.stem(features) + self.place(grid)
        for block in self.blocks:
            x = block(x)
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
