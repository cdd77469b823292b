"""From frozen features into the joint space: the trunk over the backbone's grid, the projection of tokens.

The trunk's output is the map whose Grad-CAM is taken, by the matcher and by the grounder alike.
"""

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
        x = x + self.dropout(self.project(hidden))
        return x


class VisualTrunk(nn.Module):
    """Backbone features (B, C, H, W) to (B, width, H, W), unit root mean square in each cell.

    The cells' coordinates enter, so that location words can be learnt.
    """

    def __init__(self, channels: int, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 1)
        self.position = nn.Conv2d(6, width, 1)
        self.blocks = nn.ModuleList(ResidualConv(width, dropout) for _ in range(blocks))

    def forward(self, features: Tensor) -> Tensor:
        return self.after_stem(self.stem(features))

    def after_stem(self, x: Tensor) -> Tensor:
        """The trunk from its first layer's output, which is linear in each cell: to erase there is to erase
        features, at a quarter of the cost."""
        x = x + self.position(coordinates(*x.shape[-2:]).to(x))
        for block in self.blocks:
            x = block(x)
        unit: Tensor = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
        return unit


class TextProjection(nn.Module):
    """Token vectors of the language encoder to words of the joint space, and each word's weight.

    A word's weight starts from its place: in English the thing that is meant comes before what it is related
    to ("the boat left of the house"). Captions cannot tell which of the two is meant: an image that shows a
    boat left of a house fits "the thing left of a house" and "the thing right of a boat" alike, and without
    this start each pair pulls the other way and no relation is learnt.
    """

    def __init__(self, text_width: int, width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(text_width),
            nn.Linear(text_width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )
        self.skip = nn.Linear(text_width, width)
        self.weight = nn.Linear(text_width, 1, bias=False)  # a softmax follows
        self.place = nn.Parameter(torch.tensor(-0.5))  # of a word's weight, for each word before it

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (M, T, text_width), mask (M, T) bool -> words (M, T, width), weights (M, T) summing to 1."""
        words = self.skip(tokens) + self.project(tokens)
        weight = self.weight(tokens).squeeze(-1) + self.place * torch.arange(mask.shape[1]).to(tokens)
        weights = weight.masked_fill(~mask, -torch.inf).softmax(-1)
        return words, weights
