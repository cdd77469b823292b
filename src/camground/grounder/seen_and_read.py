"""What the grounder makes of images (`Seen`), of texts (`Read`) and of pairs of them (`Grounded`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from camground.grounder.regions import Proposals


@dataclass
class Seen:
    """What `see` makes of B images: the map F (B, width, H, W), proposal tokens (B, K, width) and grid
    tokens (B, N, width); `offsets` is `RelationKernel.basis` of the map's cells, the same for all texts."""

    map: Tensor
    regions: Tensor
    grid: Tensor
    proposals: Proposals
    offsets: Tensor | None

    def take(self, rows: Tensor) -> Seen:
        proposals = self.proposals.take(rows)
        return Seen(self.map[rows], self.regions[rows], self.grid[rows], proposals, self.offsets)


@dataclass
class Read:
    """What `read` makes of M texts: unit vectors (M, width) of the whole phrase and of its subject, the
    thing that it names, words (M, T, width), mask (M, T)."""

    phrase: Tensor
    subject: Tensor
    words: Tensor
    mask: Tensor

    def take(self, rows: Tensor) -> Read:
        return Read(self.phrase[rows], self.subject[rows], self.words[rows], self.mask[rows])

    @staticmethod
    def join(one: Read, other: Read) -> Read:
        """Both, the words padded to the longer."""
        length = max(one.mask.shape[1], other.mask.shape[1])
        parts = []
        for part in (one, other):
            more = length - part.mask.shape[1]
            words = functional.pad(part.words, (0, 0, 0, more))
            mask = functional.pad(part.mask, (0, more))
            parts.append((part.phrase, part.subject, words, mask))
        return Read(*(torch.cat(pair) for pair in zip(*parts, strict=True)))


@dataclass
class Grounded:
    """Scores (P, K) of the proposals, minus infinity where none is, image logits (P,), the proposals'
    tokens (P, K, width) that the scores are of, and how much the dense score rests on each cell, shares
    (P, H, W) or None."""

    scores: Tensor
    image_logit: Tensor
    regions: Tensor
    place: Tensor | None
