"""The box of an answer, voted for by the proposals around the chosen one.

Box voting (Gidaris and Komodakis 2015, section 3.3): the mean of the boxes that overlap the chosen one, by
their scores. Proposals that follow edges and boxes of a coarse map err differently: those of the map lie on
the object that is meant, those of the image end where it ends, so the former choose and the latter vote.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from camground.grounder.regions import Proposals, pairwise_iou
from camground.study.errors import UserError


@dataclass(frozen=True)
class VotingConfig:
    """`iou`: overlap with the chosen box from which a box votes; 1: the chosen box alone. `temperature`: of
    the softmax of the scores that weighs the votes. `map_weight`: of the vote of a map's box, above 0, where
    that of one of the image's proposals is 1."""

    iou: float = 1.0
    temperature: float = 1.0
    map_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.map_weight <= 0:
            raise UserError("config `predict.voting.map_weight`: above 0")


def vote(config: VotingConfig, proposals: Proposals, scores: Tensor, of_image: int) -> Tensor:
    """Boxes (P, 4) xyxy in [0, 1] from proposals (P, K) and their scores (P, K), logits, minus infinity
    where none is. The first `of_image` are the image's proposals, the others boxes of maps. The chosen box,
    the one of the highest score, always votes."""
    chosen = scores.argmax(-1)
    rows = torch.arange(len(scores), device=scores.device)
    best = proposals.boxes[rows, chosen]
    if config.iou >= 1:
        return best
    near = pairwise_iou(best.unsqueeze(1), proposals.boxes).squeeze(1) >= config.iou
    near[rows, chosen] = True
    # all boxes of an image without any proposal score minus infinity; its first then stands alone
    logits = scores.clamp(min=-1e4) / config.temperature
    logits[:, of_image:] += math.log(config.map_weight)
    logits = logits.masked_fill(~near, -torch.inf)
    return (logits.softmax(-1).unsqueeze(-1) * proposals.boxes).sum(1)
