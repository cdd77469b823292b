"""Token vectors of the frozen language encoder in the joint space, with a weight for each word."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TextProjection(nn.Module):
    """Frozen token vectors -> token vectors of the joint space and each token's weight."""

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
        self.weight = nn.Linear(text_width, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, T, text_width), mask (B, T) -> words (B, T, width), weights (B, T) summing to 1."""
        words = self.skip(tokens) + self.project(tokens)
        weights = self.weight(tokens).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(-1)
        return words, weights
