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

from camground.model.trunk import VisualTrunk
from camground.model.words import TextProjection


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
