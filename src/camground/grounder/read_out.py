"""Reading the box out of the candidates' scores: box voting (Gidaris and Komodakis 2015, section 3.3).

The mean of the boxes that overlap the chosen one, by their scores. Proposals that follow edges and boxes of
a coarse map err differently: those of the map lie on the object that is meant, those of the image end where
it ends, so the former choose and the latter vote.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from camground.grounder.config import VotingConfig
from camground.grounder.regions import Proposals, pairwise_iou


def read_out(config: VotingConfig, candidates: Proposals, scores: Tensor, proposal_count: int) -> Tensor:
    """Boxes (P, 4) xyxy in [0, 1] from candidates (P, K) and their scores (P, K), logits, minus infinity
    where there is none.

    The first `proposal_count` candidates are the image's proposals, the others boxes around maps. The chosen
    box, the one of the highest score, always votes.
    """
    chosen = scores.argmax(-1)
    rows = torch.arange(len(scores), device=scores.device)
    best = candidates.boxes[rows, chosen]
    if config.iou >= 1:
        return best
    near = pairwise_iou(best.unsqueeze(1), candidates.boxes).squeeze(1) >= config.iou
    near[rows, chosen] = True
    # all boxes of an image without any proposal score minus infinity; its first then stands alone
    logits = scores.clamp(min=-1e4) / config.temperature
    logits[:, proposal_count:] += math.log(config.map_weight)
    logits = logits.masked_fill(~near, -torch.inf)
    return (logits.softmax(-1).unsqueeze(-1) * candidates.boxes).sum(1)
