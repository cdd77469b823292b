"""The box of an answer, voted for by the proposals around the chosen one.

Box voting (Gidaris and Komodakis 2015, section 3.3): the mean of the boxes that overlap the chosen one, by
their scores. Proposals that follow edges and boxes of a coarse map err differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camground.model.regions import Proposals, pairwise_iou


@dataclass(frozen=True)
class VotingConfig:
    """`iou`: overlap with the chosen box from which a box votes; 1: the chosen box alone. `temperature`: of
    the softmax of the scores that weighs the votes."""

    iou: float = 1.0
    temperature: float = 1.0


def vote(config: VotingConfig, proposals: Proposals, scores: Tensor) -> Tensor:
    """Boxes (P, 4) xyxy in [0, 1] from proposals (P, K) and their scores (P, K), logits, minus infinity
    where none is. The chosen box, the one of the highest score, always votes."""
    chosen = scores.argmax(-1)
    rows = torch.arange(len(scores), device=scores.device)
    best = proposals.boxes[rows, chosen]
    if config.iou >= 1:
        return best
    near = pairwise_iou(best.unsqueeze(1), proposals.boxes).squeeze(1) >= config.iou
    near[rows, chosen] = True
    # all boxes of an image without any proposal score minus infinity; its first then stands alone
    logits = (scores.clamp(min=-1e4) / config.temperature).masked_fill(~near, -torch.inf)
    return (logits.softmax(-1).unsqueeze(-1) * proposals.boxes).sum(1)
