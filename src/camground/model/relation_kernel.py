"""Relations in the matcher: where on the grid a thing stands to the landmark that the words name.

"The boat left of the house" is true of the cells that show a boat and have the house on their right. Each
head reads a landmark and a relation out of the words, spreads its attention over the cells that look
like the landmark, and gives every cell the relation's score for the offset from it to the landmark: a
text-made kernel over the landmark's map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

OFFSET_FEATURES = 5


def offsets(height: int, width: int) -> Tensor:
    """(N, N, 5): dx, dy, their sizes and the distance from cell n to cell m, in sides of the grid."""
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
    offset = place.unsqueeze(0) - place.unsqueeze(1)  # [n, m] = m less n
    distance = offset.square().sum(-1, keepdim=True).sqrt()
    return torch.cat([2 * offset, 2 * offset.abs(), distance], -1)


class RelationKernel(nn.Module):
    """`heads` pairs of landmark and relation; see the module's docstring."""

    def __init__(self, width: int, heads: int, rank: int = 16) -> None:
        super().__init__()
        self.heads, self.rank = heads, rank
        self.word_weights = nn.Linear(width, 2 * heads)
        self.relation = nn.Linear(width, rank)
        self.offset = nn.Sequential(nn.Linear(OFFSET_FEATURES, 32), nn.GELU(), nn.Linear(32, rank))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def read(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """words (M, T, width), mask (M, T): unit landmarks (M, heads, width), relations (M, heads, rank)."""
        weights = self.word_weights(words).masked_fill(~mask.unsqueeze(-1), -1e4).softmax(1)
        pooled = torch.einsum("mth,mtd->mhd", weights, words)
        landmarks = functional.normalize(pooled[:, : self.heads], dim=-1)
        return landmarks, self.relation(pooled[:, self.heads :])

    def _kernel(self, relation: Tensor, size: tuple[int, int]) -> Tensor:
        """(M, N, N): score of standing at cell n when the landmark is at cell m."""
        basis = self.offset(offsets(*size).to(relation))
        return torch.einsum("mr,nkr->mnk", relation, basis) / self.rank**0.5

    def paired(self, visual: Tensor, landmarks: Tensor, relations: Tensor) -> Tensor:
        """Evidence (P, N) at each cell, for row p of each: visual (P, width, H, W) of unit cells."""
        cells = visual.flatten(2)
        score = cells.new_zeros(len(cells), cells.shape[-1])
        for head in range(self.heads):
            like = torch.einsum("pd,pdn->pn", landmarks[:, head], cells)
            looked = (self.scale.exp() * like).softmax(-1)
            kernel = self._kernel(relations[:, head], (visual.shape[-2], visual.shape[-1]))
            score = score + torch.einsum("pnk,pk->pn", kernel, looked)
        return score

    def all_pairs(self, visual: Tensor, landmarks: Tensor, relations: Tensor) -> Tensor:
        """Evidence (images, texts, N) of every image, visual (B, width, H, W), with every text."""
        cells = visual.flatten(2)
        score = cells.new_zeros(len(cells), len(landmarks), cells.shape[-1])
        for head in range(self.heads):
            like = torch.einsum("md,bdn->bmn", landmarks[:, head], cells)
            looked = (self.scale.exp() * like).softmax(-1)
            kernel = self._kernel(relations[:, head], (visual.shape[-2], visual.shape[-1]))
            score = score + torch.einsum("mnk,bmk->bmn", kernel, looked)
        return score
