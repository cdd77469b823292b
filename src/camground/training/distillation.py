"""Distillation of the matcher's CAM into the proposals' scores.

The teacher is a distribution over the proposals made from the CAM, without any label: how much stronger
the map is inside a proposal than in the ring around it, how much of the map it holds for its area (the
ranking of ALBEF, Li et al. 2021, section 6: sum inside / area ** a), how well it fits the box around the
thresholded map, and how much of an object it looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camground.grounder.regions import Proposals, cell_overlap, map_features, pairwise_iou


@dataclass(frozen=True)
class DistillationConfig:
    """`weight` 0 switches it off. `contrast`, `ranking`, `box`, `objectness`: weights of the teacher's
    scores, each at most 1 for the best proposal. `threshold`: share of the map's maximum that its box is
    drawn around. `exponent`: a of the ranking. `temperature`: of the teacher's softmax, in units of the
    summed score. `belief`: weight of `object_belief` of the model's scores without the CAM, which it
    learns from sentences, after `belief_warmup`, a share of the training: what the CAM knows of extent
    is joined with what the matching losses know of identity.
    """

    weight: float = 1.0
    contrast: float = 1.0
    ranking: float = 0.0
    box: float = 1.0
    objectness: float = 0.5
    threshold: float = 0.6
    exponent: float = 0.5
    temperature: float = 0.1
    belief: float = 0.0
    belief_warmup: float = 0.3


def contrast(cam: Tensor, boxes: Tensor, valid: Tensor, ring: float = 1.5) -> Tensor:
    """Mean of the map inside less its mean in the ring, scaled to maximum 1 in each row: (P, K).

    cam (P, H, W) at least 0; boxes (P, K, 4) xyxy in [0, 1]; valid (P, K) bool. At most 1; where the
    map has no contrast at any proposal, 0.
    """
    score = map_features(cam, boxes, ring)[..., 2].masked_fill(~valid, 0)
    peak = score.amax(-1, keepdim=True)
    return torch.where(peak > 1e-6, score / peak.clamp(min=1e-6), torch.zeros_like(score))


def ranking(cam: Tensor, boxes: Tensor, valid: Tensor, exponent: float) -> Tensor:
    """sum of the map inside / area ** exponent, scaled to maximum 1 in each row: (P, K) in [0, 1].

    cam (P, H, W) at least 0; boxes (P, K, 4) xyxy in [0, 1]; valid (P, K) bool.
    """
    mass = (cell_overlap(boxes, *cam.shape[-2:]) @ cam.flatten(1).unsqueeze(-1)).squeeze(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3).prod(-1)
    score = (mass / area**exponent).masked_fill(~valid, 0)
    return score / score.amax(-1, keepdim=True).clamp(min=1e-6)


def object_belief(scores: Tensor, known: Proposals, proposals: Proposals) -> Tensor:
    """log sum_j p_j IoU(k, j): how much of the belief lies on the object that box k is of; (P, K), at most 0.

    scores (P, J) logits of the proposals `known`, of which p is the softmax; proposals: the K boxes asked
    about, which may be more than the J. A belief that is spread over the boxes of one object counts for
    each of them by its overlap.
    """
    belief = scores.masked_fill(~known.valid, -1e4).softmax(-1)
    overlap = pairwise_iou(proposals.boxes, known.boxes)
    return (overlap @ belief.unsqueeze(-1)).squeeze(-1).clamp(min=1e-4).log()


def teacher(
    config: DistillationConfig,
    cam: Tensor,
    cam_box: Tensor,
    proposals: Proposals,
    belief: Tensor | None = None,
    trust: float = 1.0,
) -> Tensor:
    """The teacher's distribution (P, K) over proposals.

    cam (P, H, W) in [0, 1]; cam_box (P, 4) xyxy in [0, 1] around the thresholded map; proposals of the P
    images; belief (P, K): see `object_belief`, without gradient; its weight is `trust` (0 to 1) times
    `config.belief`. A row without any valid proposal is uniform.
    """
    boxes, valid = proposals.boxes, proposals.valid
    score = (
        config.box * pairwise_iou(boxes, cam_box.unsqueeze(1)).squeeze(-1)
        + config.objectness * proposals.objectness
    )
    if config.contrast:
        score = score + config.contrast * contrast(cam, boxes, valid)
    if config.ranking:
        score = score + config.ranking * ranking(cam, boxes, valid, config.exponent)
    logits = score / config.temperature
    if config.belief and belief is not None:
        logits = logits + trust * config.belief * belief
    return logits.masked_fill(~valid, -1e4).softmax(-1)


def distillation(scores: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of softmax(scores) (P, K) from the teacher's `target`."""
    log_student = scores.masked_fill(~valid, -1e4).log_softmax(-1)
    log_target = target.clamp(min=1e-8).log()
    return (target * (log_target - log_student)).sum(-1).mean()
