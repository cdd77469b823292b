"""Reading the box out of the candidates' scores: box voting after Gidaris and Komodakis 2015, section 3.3.

The mean of the boxes that overlap the chosen one. Proposals that follow edges and boxes of a coarse map err
differently: those of the map lie on the object that is meant, those of the image end where it ends, so the
former choose and the latter vote. A detector has learnt where its boxes end, and none of them is moved by the
vote of boxes that have not. The paper weighs a vote by its score; here the score's rank decides, so
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

    The first `proposal_count` candidates are the image's proposals, the others boxes around maps. The chosen
    candidate, the one of the highest score, always votes. Of the valid ones that overlap it by `config.iou`,
    one with r of its own kind above it among them votes with the weight decay ** r, equal scores with equal
    weights; boxes around maps have `map_weight` times that weight. Ranked in one list, the boxes of a map,
    which are alike and score alike, would leave the proposals no say. A chosen box that has a label is the
    answer as it is.
    """
    chosen = scores.argmax(-1)
    rows = torch.arange(len(scores), device=scores.device)
    best = candidates.boxes[rows, chosen]
    if config.iou >= 1:
        return best
    near = pairwise_iou(best.unsqueeze(1), candidates.boxes).squeeze(1) >= config.iou
    near &= candidates.valid
    if candidates.labelled is not None:
        near &= ~candidates.labelled[rows, chosen].unsqueeze(-1)
    near[rows, chosen] = True
    falling = -scores.masked_fill(~near, -torch.inf)
    kinds = falling.split([proposal_count, falling.shape[1] - proposal_count], 1)
    # voters of a higher score
    above = [torch.searchsorted(kind.sort(-1).values, kind.contiguous()) for kind in kinds]
    weights = config.decay ** torch.cat(above, 1).to(best) * near
    weights[:, proposal_count:] *= config.map_weight
    return (weights.unsqueeze(-1) * candidates.boxes).sum(1) / weights.sum(-1, keepdim=True)
