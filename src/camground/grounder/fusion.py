"""The multi-modality fusion module: proposals attend to words, grid and CAM tokens, and to one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.attention import Block, from_zero
from camground.grounder.config import FusionConfig
from camground.grounder.regions import PAIR_FEATURES, Proposals, pair_geometry


class Fusion(nn.Module):
    """Joint features of each proposal, given the words, the image's grid and the CAM."""

    def __init__(self, config: FusionConfig, width: int, dropout: float) -> None:
        super().__init__()
        self.product = nn.Linear(width, width)
        self.kind = nn.Parameter(torch.randn(3, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, dropout, cross=True) for _ in range(config.layers)
        )
        # the image score has the one bias that these scores need
        self.score = nn.Sequential(nn.LayerNorm(width), from_zero(nn.Linear(width, 1, bias=False)))
        self.relations = Relations(width, config.relations) if config.relations else None

    def pairs(self, boxes: Tensor) -> Tensor | None:
        """`Relations.pairs` of an image's boxes (B, K, 4), the same for all texts; None without relations."""
        return None if self.relations is None else self.relations.pairs(boxes)

    def forward(
        self,
        regions: Tensor,
        proposals: Proposals,
        pairs: Tensor | None,
        phrase: Tensor,
        words: Tensor,
        words_mask: Tensor,
        grid: Tensor,
        cam_regions: Tensor | None,
        cam_tokens: Tensor | None,
    ) -> Tensor:
        """Scores (B, K), logits, of the proposals.

        regions (B, K, width) of the proposals, `pairs` of their boxes, phrase (B, width), words (B, T, width)
        with mask (B, T), grid (B, N, width), cam_regions (B, K or 1, width) and cam_tokens (B, M, width) or
        None without a CAM encoder.
        """
        x = regions + self.product(regions * phrase.unsqueeze(1))
        memory = [words + self.kind[0], grid + self.kind[1]]
        if cam_regions is not None and cam_tokens is not None:
            x = x + cam_regions
            memory.append(cam_tokens + self.kind[2])
        always = torch.ones(
            len(x), sum(part.shape[1] for part in memory[1:]), dtype=torch.bool, device=x.device
        )
        mask = torch.cat([words_mask, always], 1)
        joined = torch.cat(memory, 1)
        for block in self.blocks:
            x = block(x, proposals.valid, joined, mask)
        scores: Tensor = self.score(x).squeeze(-1)
        if self.relations is not None and pairs is not None:
            scores = scores + self.relations(
                regions, pairs, proposals.objectness, proposals.valid, words, words_mask
            )
        return scores


class Relations(nn.Module):
    """What the words say about where a proposal is among the others, in `heads` relations to landmarks.

    "The boat left of the house" and "the smallest boat" compare one object with others. Each head reads out
    of the words which other proposals to look at (the landmark: the house; the rest of the group: the
    boats) and what to look for in the pair's geometry (to the left of; smaller than). After the subject,
    location and relationship modules of MAttNet (Yu et al. 2018, section 3.2.3), with attention instead
    of its fixed choice of neighbours.
    """

    def __init__(self, width: int, heads: int, rank: int = 32) -> None:
        super().__init__()
        self.heads, self.rank = heads, rank
        self.pair = nn.Sequential(nn.Linear(PAIR_FEATURES, 64), nn.GELU(), nn.Linear(64, rank))
        self.word_weights = nn.Linear(width, 2 * heads, bias=False)  # a softmax follows
        self.relation_query = nn.ModuleList(from_zero(nn.Linear(width, rank)) for _ in range(heads))
        self.prior = nn.Parameter(torch.ones(heads))
        # landmarks are matched in the joint space that the contrastive loss makes, so that only which
        # words name them is left to learn
        self.scale = nn.Parameter(torch.full((heads,), math.log(10.0)))

    def pairs(self, boxes: Tensor) -> Tensor:
        """(B, K * K, rank) of boxes (B, K, 4) xyxy in [0, 1]: what relations read of each box beside each."""
        pairs: Tensor = self.pair(pair_geometry(boxes)).flatten(1, 2) / self.rank**0.5
        return pairs

    def forward(
        self, regions: Tensor, pairs: Tensor, objectness: Tensor, valid: Tensor, words: Tensor, mask: Tensor
    ) -> Tensor:
        """Scores (P, K), logits: how well each proposal fits the relations that the words name.

        regions (P, K, width), `pairs` of their boxes, objectness (P, K), valid (P, K) bool, words
        (P, T, width) with mask (P, T) bool.
        """
        count = regions.shape[1]
        weights = self.word_weights(words).masked_fill(~mask.unsqueeze(-1), -1e4).softmax(1)
        pooled = torch.einsum("pth,ptd->phd", weights, words)
        landmark = functional.normalize(pooled[:, : self.heads], dim=-1)
        similarity = torch.einsum("phd,pkd->phk", landmark, functional.normalize(regions, dim=-1))
        similarity = self.scale.exp()[:, None] * similarity
        similarity = similarity + self.prior[:, None] * objectness.unsqueeze(1)
        # no proposal is a landmark of itself
        other = valid.unsqueeze(1) & ~torch.eye(count, dtype=torch.bool, device=valid.device)
        other = other.unsqueeze(1)
        attention = similarity.unsqueeze(2).masked_fill(~other, -1e4).softmax(-1)
        attention = attention * other  # a single proposal is in no relation
        queries = zip(self.relation_query, pooled[:, self.heads :].unbind(1), strict=True)
        relations = torch.stack([query(words_of_head) for query, words_of_head in queries], 1)
        fit = (relations @ pairs.transpose(1, 2)).unflatten(-1, (count, count))  # (P, heads, K, K)
        scores: Tensor = (attention * fit).sum((1, 3))
        return scores
