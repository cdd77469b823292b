"""Reading the box out of the candidates' scores: box voting after Gidaris and Komodakis 2015, section 3.3.

The mean of the boxes that overlap the chosen one. Proposals that follow edges and boxes of a coarse map err
differently: those of the map lie on the object that is meant, those of the image end where it ends, so the
former choose and the latter vote. The paper weighs a vote by its score; here the score's rank decides, so
that methods whose scores spread differently, learned or not, are read out alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from camground.grounder.config import VotingConfig
from camground.grounder.regions import Proposals, pairwise_iou


def read_out(config: VotingConfig, candidates: Proposals, scores: Tensor, proposal_count: int) -> Tensor:
    """Boxes (P, 4) xyxy in [0, 1] from candidates (P, K) and their scores (P, K), of which the order alone
    counts; minus infinity where there is none.

    The chosen candidate, the one of the highest score, always votes. Of the valid ones that overlap it by
    `config.iou`, one with r others above it among them votes with the weight decay ** r; equal scores, equal
    weights. The first `proposal_count` candidates are the image's proposals, the others boxes around maps,
    which have `map_weight` times that weight.
    """
    chosen = scores.argmax(-1)
    rows = torch.arange(len(scores), device=scores.device)
    best = candidates.boxes[rows, chosen]
    if config.iou >= 1:
        return best
    near = pairwise_iou(best.unsqueeze(1), candidates.boxes).squeeze(1) >= config.iou
    near &= candidates.valid
    near[rows, chosen] = True
    falling = -scores.masked_fill(~near, -torch.inf)
    above = torch.searchsorted(falling.sort(-1).values, falling)  # voters of a higher score
    weights = config.decay ** above.to(best) * near
    weights[:, proposal_count:] *= config.map_weight
    return (weights.unsqueeze(-1) * candidates.boxes).sum(1) / weights.sum(-1, keepdim=True)
