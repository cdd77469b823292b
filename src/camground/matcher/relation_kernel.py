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


def offsets(height: int, width: int) -> Tensor:
    """(2 H - 1, 2 W - 1, 5): dx, dy, their sizes and the distance, in sides of the grid, of every offset from
    one of its cells to another; [H - 1, W - 1] is from a cell to itself."""
    y = torch.arange(1 - height, height) / height
    x = torch.arange(1 - width, width) / width
    offset = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    distance = offset.square().sum(-1, keepdim=True).sqrt()
    return torch.cat([2 * offset, 2 * offset.abs(), distance], -1)


class RelationKernel(nn.Module):
    """`heads` pairs of landmark and relation; see the module's docstring."""

    def __init__(self, width: int, heads: int, rank: int = 16) -> None:
        super().__init__()
        self.heads, self.rank = heads, rank
        self.word_weights = nn.Linear(width, 2 * heads, bias=False)  # a softmax follows
        self.relation = nn.Linear(width, rank)
        self.offset = nn.Sequential(nn.Linear(OFFSET_FEATURES, 32), nn.GELU(), nn.Linear(32, rank))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def read(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """words (M, T, width), mask (M, T): unit landmarks (M, heads, width), relations (M, heads, rank)."""
        weights = self.word_weights(words).masked_fill(~mask.unsqueeze(-1), -1e4).softmax(1)
        pooled = torch.einsum("mth,mtd->mhd", weights, words)
        landmarks = functional.normalize(pooled[:, : self.heads], dim=-1)
        return landmarks, self.relation(pooled[:, self.heads :])

    def kernels(self, relations: Tensor, height: int, width: int) -> Tensor:
        """(M, heads, 2 H - 1, 2 W - 1): scores of all offsets, of relations (M, heads, rank)."""
        basis = self.offset(offsets(height, width).to(self.scale)) / self.rank**0.5
        return torch.einsum("mhr,yxr->mhyx", relations, basis)

    def paired(self, visual: Tensor, landmarks: Tensor, relations: Tensor) -> Tensor:
        """Evidence (P, N) at each cell, for row p of each: visual (P, width, H, W), whose cells have
        cosines as products with the landmarks.

        evidence[n] = sum over heads and cells k of attention[k] kernel[k - n], a correlation: a product of
        Fourier transforms.
        """
        height, width = visual.shape[-2:]
        similarity = (self.scale.exp() * landmarks) @ visual.flatten(2)
        attention = similarity.softmax(-1).unflatten(-1, (height, width))
        kernels = self.kernels(relations, height, width)
        size = (2 * height, 2 * width)  # no offset comes round from the other side
        waves = [torch.fft.rfft2(each.to(self.scale), size) for each in (attention, kernels)]
        product = waves[0].conj() * waves[1]
        evidence: Tensor = torch.fft.irfft2(product.sum(1), size)[:, :height, :width]
        # entry s of `kernels` is the offset s - (H - 1), so cell n is found at (H - 1) - n
        return evidence.flatten(1).flip(-1)

    def all_pairs(self, visual: Tensor, landmarks: Tensor, relations: Tensor) -> Tensor:
        """Evidence (images, texts, N) of every image, visual (B, width, H, W), with every text.

        As `paired`; a kernel that meets many images is cheaper as a convolution with their attentions.
        """
        height, width = visual.shape[-2:]
        similarity = torch.einsum("mhd,bdn->mhbn", self.scale.exp() * landmarks, visual.flatten(2))
        attention = similarity.softmax(-1).view(-1, 1, height, width)
        kernels = self.kernels(relations, height, width).flatten(0, 1)
        evidence = functional.conv2d(kernels.unsqueeze(0), attention, groups=len(kernels))
        by_head = evidence.view(*landmarks.shape[:2], len(visual), -1)
        return by_head.sum(1).flip(-1).transpose(0, 1)
