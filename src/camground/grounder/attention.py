"""Transformer blocks written as matrix products, so that every step has a second derivative."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def from_zero(layer: nn.Linear) -> nn.Linear:
    """The layer, its parameters set to zero: what it is added to stays, until it learns to change it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, eq. 1) of queries over keys, with a key mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = from_zero(nn.Linear(width, width))

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """x (B, N, width), memory (B, M, width), memory_mask (B, M) bool, True to attend."""
        batch, count, width = x.shape
        query = self.query(x).view(batch, count, self.heads, -1).transpose(1, 2)
        key, value = self.key_value(memory).chunk(2, -1)
        key = key.reshape(batch, memory.shape[1], self.heads, -1).transpose(1, 2)
        value = value.reshape(batch, memory.shape[1], self.heads, -1).transpose(1, 2)
        logits = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        # a finite floor: with minus infinity a row without any key would be NaN
        logits = logits.masked_fill(~memory_mask[:, None, None, :], -1e4)
        mixed = (torch.softmax(logits, -1) @ value).transpose(1, 2).reshape(batch, count, width)
        out: Tensor = self.out(mixed)
        return out


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, cross-attention when there is a memory, and MLP."""

    def __init__(self, width: int, heads: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.cross_attention = Attention(width, heads) if cross else None
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), from_zero(nn.Linear(2 * width, width))
        )
        self.dropout = dropout

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """x (B, N, width), mask (B, N) bool; memory (B, M, width) and its mask for cross-attention."""
        normed = self.self_norm(x)
        x = x + self._drop(self.self_attention(normed, normed, mask))
        if self.cross_attention is not None and self.cross_norm is not None:
            if memory is None or memory_mask is None:
                raise ValueError("a block with cross-attention needs a memory and its mask")
            x = x + self._drop(self.cross_attention(self.cross_norm(x), memory, memory_mask))
        return x + self._drop(self.mlp(self.mlp_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)
