"""The image-text matcher: its Grad-CAM enters the grounder, and the grounder is built on it.

A convolutional trunk over the frozen backbone's grid and a projection of the frozen language encoder's
tokens meet in one space. The score of an image and a text is a smooth maximum over the grid's cells of
their similarity with the phrase, to which landmarks that the words name add evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.features.language import text_vectors
from camground.matcher.config import MatcherConfig
from camground.matcher.projections import TextProjection, VisualTrunk
from camground.matcher.relation_kernel import RelationKernel
from camground.study.checkpoints import fitting, load_checkpoint


@dataclass
class Texts:
    """M texts in the joint space.

    words (M, T, width) with mask (M, T) bool; phrase (M, width), unit vectors of the whole text; landmarks
    (M, heads, width), unit vectors, and relations (M, heads, rank) of `RelationKernel`, or None; vector
    (M, text_width), unit: the mean of the language encoder's own vectors, which nothing here has trained.
    """

    words: Tensor
    mask: Tensor
    phrase: Tensor
    landmarks: Tensor | None
    relations: Tensor | None
    vector: Tensor

    def take(self, rows: Tensor) -> Texts:
        """The texts at these rows, in that order."""
        parts = (self.words, self.mask, self.phrase, self.landmarks, self.relations, self.vector)
        return Texts(*(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]

    @staticmethod
    def join(first: Texts, second: Texts) -> Texts:
        """Both, one after the other, the words padded to the longer."""
        length = max(first.mask.shape[1], second.mask.shape[1])

        def rows(texts: Texts) -> tuple[Tensor | None, ...]:
            more = length - texts.mask.shape[1]
            words = functional.pad(texts.words, (0, 0, 0, more))
            mask = functional.pad(texts.mask, (0, more))
            return words, mask, texts.phrase, texts.landmarks, texts.relations, texts.vector

        pairs = zip(rows(first), rows(second), strict=True)
        return Texts(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[arg-type]


def smooth_max(similarity: Tensor, temperature: float, valid: Tensor | None = None) -> Tensor:
    """Smooth maximum (...) over the last axis of similarities (..., N): t * log mean exp(s / t).

    valid (..., N) bool, broadcast: which entries count; a row without any gives a finite, very low value.
    """
    scaled = similarity / temperature
    if valid is None:
        return temperature * (scaled.logsumexp(-1) - math.log(scaled.shape[-1]))
    count = valid.sum(-1).clamp(min=1)
    # a finite floor keeps the gradient finite for an image without proposals
    return temperature * (scaled.masked_fill(~valid, -1e4).logsumexp(-1) - count.log())


class Matcher(nn.Module):
    """S(I, q), logits, for pairs or for all images with all texts; `trunk` is the Grad-CAM layer."""

    def __init__(self, config: MatcherConfig, visual_channels: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.trunk = VisualTrunk(visual_channels, config.width, config.blocks, config.dropout)
        self.text = TextProjection(text_width, config.width, config.dropout)
        self.relations = RelationKernel(config.width, config.relations) if config.relations else None
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    @classmethod
    def like(cls, saved: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str = "") -> Matcher:
        """A new matcher of a checkpoint's config `saved` and the sizes of its parameters `state`, whose names
        start with `prefix`."""
        channels = state[f"{prefix}trunk.stem.weight"].shape[1]
        text_width = state[f"{prefix}text.skip.weight"].shape[1]
        return cls(MatcherConfig.parse(saved["matcher"], "matcher"), channels, text_width)

    def read(self, tokens: Tensor, mask: Tensor) -> Texts:
        """Token vectors (M, T, text_width) of the language encoder and mask (M, T) bool to texts."""
        words, weights = self.text(tokens, mask)
        phrase = functional.normalize((weights.unsqueeze(-1) * words).sum(1), dim=-1)
        related = (None, None) if self.relations is None else self.relations.read(words, mask)
        landmarks, relations = related
        return Texts(words, mask, phrase, landmarks, relations, text_vectors(tokens, mask))

    def similarity(self, visual: Tensor, texts: Texts) -> Tensor:
        """Similarity (P, H * W) of each cell of the map `visual` (P, width, H, W) with its row's text."""
        query = self._scaled(texts.phrase)
        similarity = torch.bmm(query.unsqueeze(1), visual.flatten(2)).squeeze(1)
        if self.relations is None or texts.landmarks is None or texts.relations is None:
            return similarity
        evidence = self.relations.paired(visual, self._scaled(texts.landmarks), texts.relations)
        return similarity + evidence

    def all_similarities(self, visual: Tensor, texts: Texts) -> Tensor:
        """Similarity (B, M, H * W) of each cell of the maps (B, width, H, W) with each of the M texts."""
        similarity = torch.einsum("md,bdn->bmn", self._scaled(texts.phrase), visual.flatten(2))
        if self.relations is None or texts.landmarks is None or texts.relations is None:
            return similarity
        evidence = self.relations.all_pairs(visual, self._scaled(texts.landmarks), texts.relations)
        return similarity + evidence

    def cell_shares(self, similarity: Tensor) -> Tensor:
        """How much the smooth maximum rests on each cell: shares (..., N) that sum to 1, its gradient."""
        return (similarity / self.config.temperature).softmax(-1)

    def logits(self, similarity: Tensor) -> Tensor:
        """Scores (...) from similarities (..., N)."""
        return self.scale.exp() * smooth_max(similarity, self.config.temperature)

    def logits_per_image(self, features: Tensor, texts: Texts) -> Tensor:
        """Scores (B, M) of every image, backbone features (B, C, H, W), with every text."""
        return self.logits(self.all_similarities(self.trunk(features), texts))

    def forward(self, features: Tensor, texts: Texts) -> Tensor:
        """Scores (P,) of row p of the backbone features (P, C, H, W) with row p of the texts."""
        return self.logits(self.similarity(self.trunk(features), texts))

    def _scaled(self, query: Tensor) -> Tensor:
        """Unit vectors (..., width) so scaled that their products with the trunk's cells, of unit root mean
        square, are cosines."""
        return query / math.sqrt(self.config.width)


def load_matcher(folder: str | Path) -> Matcher:
    """The matcher of a checkpoint folder, in evaluation mode, on the CPU; `UserError` when the folder is not
    whole or of another version."""
    saved, state = load_checkpoint(folder)
    with fitting(folder):
        matcher = Matcher.like(saved, state)
        matcher.load_state_dict(state)
    return matcher.eval()
