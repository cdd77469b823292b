"""Region contrast: what whole phrases and proposals alone tell of where a phrase is.

The objective of RefCLIP (Jin et al. 2023): phrases are set against the images of a batch by their most
similar proposals, without a map. By itself that chooses badly, but it errs otherwise than a map does, which
prefers what is large. Its word therefore joins the grounder's scores as a second expert's, a product of
distributions (Hinton 2002), where the box is read out; no loss on the grounder's scores sees it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.grounder.regions import Proposals, pairwise_iou
from camground.matcher.matcher import Texts, smooth_max

# What an expert leaves to a candidate that it does not believe in at all.
FLOOR = 1e-3


class RegionContrast(nn.Module):
    """Tokens of proposals for the contrast, of their content and geometry, and what they say of a phrase."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.content = nn.Linear(2 * width, width)
        self.geometry = nn.Sequential(nn.Linear(10, width), nn.GELU(), nn.Linear(width, width))
        self.scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, content: Tensor, shape: Tensor) -> Tensor:
        """Unit tokens (B, K, width) of the proposals; content (B, K, 2 width), inside and less its ring;
        shape (B, K, 10): geometry and objectness."""
        return functional.normalize(self.content(content) + self.geometry(shape), dim=-1)

    def logits(self, tokens: Tensor, valid: Tensor, texts: Texts, temperature: float) -> Tensor:
        """(B, M): of every image with every text, for the contrast; valid (B, K) bool."""
        similarity = torch.einsum("md,bkd->bmk", texts.phrase, tokens)
        return self.scale.exp() * smooth_max(similarity, temperature, valid.unsqueeze(1))

    def evidence(self, tokens: Tensor, proposals: Proposals, texts: Texts, boxes: Tensor) -> Tensor:
        """Logarithm of what P phrases' shares of the proposals leave to `boxes` (P, K + E, 4), (P, K + E):
        each share, softmax of standardised similarities, counts by its box's squared IoU."""
        similarity = torch.einsum("pd,pkd->pk", texts.phrase, tokens)
        standard = standardised(similarity, proposals.valid)
        share = standard.masked_fill(~proposals.valid, -1e4).softmax(-1) * proposals.valid
        near = pairwise_iou(boxes, proposals.boxes).square()
        return (FLOOR + (near @ share.unsqueeze(-1)).squeeze(-1)).log()


def standardised(scores: Tensor, valid: Tensor) -> Tensor:
    """Each row of scores (P, K) less its mean, by its deviation, over the valid ones (P, K) bool; 0 elsewhere
    and where they are all alike."""
    kept = scores.masked_fill(~valid, 0)
    count = valid.sum(-1, keepdim=True).clamp(min=1)
    centred = (kept - kept.sum(-1, keepdim=True) / count).masked_fill(~valid, 0)
    deviation = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp(min=1e-6)
