"""Relations in the matcher: where on the grid an object is relative to the landmark that the words name.

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


def offsets(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The distinct offsets between two cells of a grid, and the row of the one from cell n to cell m.

    (S, 5): dx, dy, their sizes and the distance, in sides of the grid, S = (2 H - 1) (2 W - 1); and
    (N, N) int, rows of the former.
    """
    y = torch.arange(1 - height, height) / height
    x = torch.arange(1 - width, width) / width
    offset = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
    distance = offset.square().sum(-1, keepdim=True).sqrt()
    features = torch.cat([2 * offset, 2 * offset.abs(), distance], -1)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    row, column = row.flatten(), column.flatten()
    down = row.unsqueeze(0) - row.unsqueeze(1) + height - 1  # [n, m] = m less n
    right = column.unsqueeze(0) - column.unsqueeze(1) + width - 1
    return features, down * (2 * width - 1) + right


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

    def basis(self, height: int, width: int) -> Tensor:
        """(N, N, rank): of the offset from cell n to cell m; the same for all images and texts."""
        features, rows = offsets(height, width)
        table: Tensor = self.offset(features.to(self.scale)) / self.rank**0.5
        return table[rows.to(self.scale.device)]

    def paired(
        self, visual: Tensor, landmarks: Tensor, relations: Tensor, basis: Tensor | None = None
    ) -> Tensor:
        """Evidence (P, N) at each cell, for row p of each: visual (P, width, H, W) of unit cells.

        `basis`: that of H and W, where the caller has it already.
        """
        if basis is None:
            basis = self.basis(*visual.shape[-2:])
        cells = visual.flatten(2)
        score = cells.new_zeros(len(cells), cells.shape[-1])
        for head in range(self.heads):
            similarity = torch.einsum("pd,pdn->pn", landmarks[:, head], cells)
            attention = (self.scale.exp() * similarity).softmax(-1)
            # the landmark's cells first: a kernel for every pair would be the largest tensor by far
            offset = torch.einsum("pk,nkr->pnr", attention, basis)
            score = score + torch.einsum("pnr,pr->pn", offset, relations[:, head])
        return score

    def all_pairs(
        self, visual: Tensor, landmarks: Tensor, relations: Tensor, basis: Tensor | None = None
    ) -> Tensor:
        """Evidence (images, texts, N) of every image, visual (B, width, H, W), with every text."""
        if basis is None:
            basis = self.basis(*visual.shape[-2:])
        cells = visual.flatten(2)
        score = cells.new_zeros(len(cells), len(landmarks), cells.shape[-1])
        for head in range(self.heads):
            similarity = torch.einsum("md,bdn->bmn", landmarks[:, head], cells)
            attention = (self.scale.exp() * similarity).softmax(-1)
            kernel = torch.einsum("mr,nkr->mnk", relations[:, head], basis)
            score = score + torch.einsum("mnk,bmk->bmn", kernel, attention)
        return score
