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

from camground.matcher.relation_kernel import RelationKernel
from camground.matcher.trunk import VisualTrunk
from camground.matcher.words import TextProjection


@dataclass(frozen=True)
class MatcherConfig:
    """`width`: channels of the joint space. `blocks`: residual convolutions in the trunk.

    `word_share`: weight in [0, 1] of the word-by-word score beside the whole phrase's.
    `temperature`: of the smooth maximum over the grid, in units of the similarity. `relations`: heads of the
    relations to landmarks that the whole phrase names (see `model.relation_kernel`); 0: none.
    """

    width: int = 256
    blocks: int = 2
    dropout: float = 0.1
    word_share: float = 0.5
    temperature: float = 0.1
    relations: int = 0


@dataclass
class Queries:
    """M texts: unit vectors (M, 1 + T, width) of the phrase and then of its words, their weights (M, 1 + T)
    summing to 1, and the landmarks and relations of `RelationKernel.read`, or None."""

    vectors: Tensor
    weights: Tensor
    related: tuple[Tensor, Tensor] | None


class Matcher(nn.Module):
    """S(I, q) for paired or for all pairs of images and texts; `trunk` is the Grad-CAM layer."""

    def __init__(self, config: MatcherConfig, visual_channels: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.trunk = VisualTrunk(visual_channels, config.width, config.blocks, config.dropout)
        self.text = TextProjection(text_width, config.width, config.dropout)
        self.relations = (
            RelationKernel(config.width, config.relations) if config.relations else None
        )
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.zeros(()))

    def queries(self, tokens: Tensor, mask: Tensor) -> Queries:
        """What is looked for, from frozen token vectors (M, T, text_width) and their mask (M, T)."""
        words, weights = self.text(tokens, mask)
        phrase = (weights.unsqueeze(-1) * words).sum(1, keepdim=True)
        vectors = functional.normalize(torch.cat([phrase, words], 1), dim=-1)
        share = self.config.word_share
        parts = torch.cat([torch.full_like(weights[:, :1], 1 - share), share * weights], dim=1)
        related = self.relations.read(words, mask) if self.relations is not None else None
        return Queries(vectors, parts, related)

    def paired(self, features: Tensor, queries: Queries) -> Tensor:
        """Scores (B,) of image b with text b, from backbone features (B, C, H, W)."""
        return self.paired_from_trunk(self.trunk(features), queries)

    def paired_from_trunk(self, trunk: Tensor, queries: Queries) -> Tensor:
        """`paired` from the trunk's output (B, width, H, W)."""
        similarity = self._similarity(trunk, queries)
        return self._logit((self._smooth_max(similarity) * queries.weights).sum(-1))

    def cell_shares(self, trunk: Tensor, queries: Queries) -> Tensor:
        """Gradient (B, H * W) of the pooled score to each cell's similarity: shares that sum to 1."""
        similarity = self._similarity(trunk, queries)
        shares = (similarity / self.config.temperature).softmax(-1)
        return (shares * queries.weights.unsqueeze(-1)).sum(1)

    def _similarity(self, trunk: Tensor, queries: Queries) -> Tensor:
        """(B, 1 + T, H * W): of each cell with the phrase, its landmarks' evidence added, and each word."""
        visual = trunk / math.sqrt(self.config.width)
        similarity = torch.bmm(queries.vectors, visual.flatten(2))  # cosines
        if self.relations is None or queries.related is None:
            return similarity
        evidence = self.relations.paired(visual, *queries.related)
        return torch.cat([similarity[:, :1] + evidence.unsqueeze(1), similarity[:, 1:]], 1)

    def all_pairs(self, features: Tensor, queries: Queries) -> Tensor:
        """Scores (images, texts) of every image with every text."""
        visual = self.trunk(features) / math.sqrt(self.config.width)
        cells = visual.flatten(2)
        vectors, weights = queries.vectors, queries.weights
        whole = torch.einsum("md,bdn->bmn", vectors[:, 0], cells)
        if self.relations is not None and queries.related is not None:
            whole = whole + self.relations.all_pairs(visual, *queries.related)
        scores = self._smooth_max(whole) * weights[:, 0]
        words = (
            weights[:, 1:].flatten() > 0
        )  # padding and, with word_share 0, all words cost nothing
        if words.any():
            flat = vectors[:, 1:].flatten(0, 1)[words]  # (words, width)
            pooled = self._smooth_max(torch.einsum("qd,bdn->bqn", flat, cells))  # (images, words)
            owner = torch.arange(len(vectors), device=flat.device)
            owner = owner.repeat_interleave(vectors.shape[1] - 1)[words]
            scores = scores.index_add(1, owner, pooled * weights[:, 1:].flatten()[words])
        return self._logit(scores)

    def forward(self, features: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Paired scores (B,), logits."""
        return self.paired(features, self.queries(tokens, mask))

    def _smooth_max(self, similarity: Tensor) -> Tensor:
        temperature = self.config.temperature
        cells = math.log(similarity.shape[-1])
        return temperature * (torch.logsumexp(similarity / temperature, -1) - cells)

    def _logit(self, score: Tensor) -> Tensor:
        return self.scale.exp() * score + self.bias
