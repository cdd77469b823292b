"""Distillation of a matcher's CAM into the proposals' scores.

The teacher is a distribution over the proposals made from the CAM, without any label: how well a proposal
fits the boxes around the thresholded map, how much stronger the map is inside it than in the ring around it,
how much of the map it holds for its area (the ranking of ALBEF, Li et al. 2021, section 6), how much it looks
like an object, and, if the config says so, what a detector's labels say of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from camground.grounder.regions import Proposals, cell_overlap, map_features, pairwise_iou
from camground.matcher.map_geometry import AREA_EXPONENT
from camground.training.config import DistillationConfig


def contrast(cam: Tensor, boxes: Tensor, valid: Tensor) -> Tensor:
    """Mean of the map inside less its mean in the ring, scaled to maximum 1 in each row: (P, K).

    cam (P, H, W) at least 0; boxes (P, K, 4) xyxy in [0, 1]; valid (P, K) bool. At most 1; where the
    map has no contrast at any proposal, 0.
    """
    score = map_features(cam, boxes)[..., 2].masked_fill(~valid, 0)
    peak = score.amax(-1, keepdim=True)
    return torch.where(peak > 1e-6, score / peak.clamp(min=1e-6), torch.zeros_like(score))


def ranking(cam: Tensor, boxes: Tensor, valid: Tensor) -> Tensor:
    """sum of the map inside / area ** AREA_EXPONENT, scaled to maximum 1 in each row: (P, K) in [0, 1].

    cam (P, H, W) at least 0; boxes (P, K, 4) xyxy in [0, 1]; valid (P, K) bool.
    """
    mass = (cell_overlap(boxes, *cam.shape[-2:]) @ cam.flatten(1).unsqueeze(-1)).squeeze(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3).prod(-1)
    score = (mass / area**AREA_EXPONENT).masked_fill(~valid, 0)
    return score / score.amax(-1, keepdim=True).clamp(min=1e-6)


def teacher(
    config: DistillationConfig,
    cam: Tensor,
    cam_boxes: Tensor,
    candidates: Proposals,
    text: Tensor | None = None,
) -> Tensor:
    """The teacher's distribution (P, K) over the candidates of P pairs.

    cam (P, H, W) in [0, 1]; cam_boxes (P, E, 4) xyxy in [0, 1] around the thresholded map, which only
    `config.box` needs; text (P, text_width): `Texts.vector`, which only `config.label` needs. Of a CAM of
    zeros only objectness and labels are left, which is no teaching: `distillation` leaves such a pair out.
    """
    boxes, valid = candidates.boxes, candidates.valid
    score = config.objectness * candidates.objectness
    if config.box:
        score = score + config.box * pairwise_iou(boxes, cam_boxes).mean(-1)
    if config.contrast:
        score = score + config.contrast * contrast(cam, boxes, valid)
    if config.ranking:
        score = score + config.ranking * ranking(cam, boxes, valid)
    if config.label and candidates.labels is not None and text is not None:
        cosines = text @ candidates.labels.vectors.T
        evidence = candidates.labels.evidence(boxes, cosines.unsqueeze(1)).squeeze(1)
        # the language encoder may be training; a teacher does not learn
        score = score + config.label * evidence.detach()
    return (score / config.temperature).masked_fill(~valid, -1e4).softmax(-1)


def distillation(scores: Tensor, target: Tensor, valid: Tensor, taught: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of softmax(scores) (P, K) from the teacher's `target`, of the pairs
    that have a teacher, taught (P,) bool, and a valid candidate; 0 where none has."""
    log_student = scores.masked_fill(~valid, -1e4).log_softmax(-1)
    log_target = target.clamp(min=1e-8).log()
    counted = taught & valid.any(-1)
    each = (target * (log_target - log_student)).sum(-1).masked_fill(~counted, 0)
    return each.sum() / counted.sum().clamp(min=1)
