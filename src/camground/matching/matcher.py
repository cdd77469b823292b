"""The image-text matcher whose Grad-CAM enters the grounder.

A trainable convolutional trunk over the frozen backbone's grid, with the cells' coordinates so that
location words can be learnt, and a projection of the frozen language encoder's tokens. The score of an
image and a text is a smooth maximum over the grid of their similarity; a smooth maximum of one phrase
vector binds all words to one place, a mean over words of smooth maxima lets each word find its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class MatcherConfig:
    """`width`: channels of the joint space. `blocks`: residual convolutions in the trunk.

    `word_share`: weight in [0, 1] of the word-by-word score beside the whole phrase's.
    `temperature`: of the smooth maximum over the grid, in units of the similarity.
    """

    width: int = 256
    blocks: int = 2
    dropout: float = 0.1
    word_share: float = 0.5
    temperature: float = 0.1


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


class Matcher(nn.Module):
    """S(I, q) for paired or for all pairs of images and texts; `trunk` is the Grad-CAM layer."""

    def __init__(self, config: MatcherConfig, visual_channels: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.trunk = VisualTrunk(visual_channels, config.width, config.blocks, config.dropout)
        self.text = TextProjection(text_width, config.width, config.dropout)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.zeros(()))

    def queries(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (B, 1 + T, width): the phrase, then its words; weights (B, 1 + T) summing to 1."""
        words, weights = self.text(tokens, mask)
        phrase = (weights.unsqueeze(-1) * words).sum(1, keepdim=True)
        vectors = functional.normalize(torch.cat([phrase, words], 1), dim=-1)
        share = self.config.word_share
        return vectors, torch.cat(
            [torch.full_like(weights[:, :1], 1 - share), share * weights], dim=1
        )

    def paired(self, features: Tensor, vectors: Tensor, weights: Tensor) -> Tensor:
        """Scores (B,) of image b with text b, from backbone features (B, C, H, W)."""
        return self.paired_from_trunk(self.trunk(features), vectors, weights)

    def paired_from_trunk(self, visual: Tensor, vectors: Tensor, weights: Tensor) -> Tensor:
        """`paired` from the trunk's output (B, width, H, W)."""
        visual = visual.flatten(2) / math.sqrt(self.config.width)
        similarity = torch.bmm(vectors, visual)  # (B, 1 + T, H * W), cosines
        return self._logit((self._smooth_max(similarity) * weights).sum(-1))

    def all_pairs(self, features: Tensor, vectors: Tensor, weights: Tensor) -> Tensor:
        """Scores (images, texts) of every image with every text."""
        visual = self.trunk(features).flatten(2) / math.sqrt(self.config.width)
        used = weights.flatten() > 0  # padding and, with word_share 0, all words cost nothing
        flat = vectors.flatten(0, 1)[used]  # (words, width)
        similarity = torch.einsum("qd,bdn->bqn", flat, visual)
        pooled = self._smooth_max(similarity)  # (images, words)
        owner = torch.arange(len(vectors), device=flat.device).repeat_interleave(vectors.shape[1])
        scores = pooled.new_zeros(len(visual), len(vectors))
        scores = scores.index_add(1, owner[used], pooled * weights.flatten()[used])
        return self._logit(scores)

    def forward(self, features: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Paired scores (B,), logits."""
        return self.paired(features, *self.queries(tokens, mask))

    def _smooth_max(self, similarity: Tensor) -> Tensor:
        temperature = self.config.temperature
        cells = math.log(similarity.shape[-1])
        return temperature * (torch.logsumexp(similarity / temperature, -1) - cells)

    def _logit(self, score: Tensor) -> Tensor:
        return self.scale.exp() * score + self.bias
