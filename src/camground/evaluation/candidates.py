"""Methods without training read out as the grounder is: its candidates, its teacher, its vote.

Flat values are (T,), one for each box of `GroundTruth.proposals`; rows are its N expressions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from camground.evaluation.ground_truth import GroundTruth
from camground.grounder.config import VotingConfig
from camground.grounder.map_boxes import SIDE, boxes_around
from camground.grounder.read_out import read_out
from camground.grounder.regions import Proposals
from camground.training.config import DistillationConfig
from camground.training.distillation import teacher


def vote(
    voting: VotingConfig, truth: GroundTruth, scores: np.ndarray, map_boxes: np.ndarray | None = None
) -> np.ndarray:
    """Boxes (N, 4) float64, pixels, read out of the proposals by their scores (T,).

    map_boxes: (N, 4), pixels: one box around a map for each expression, which is the chosen candidate.
    """
    candidates = _proposals(truth)
    count = candidates.boxes.shape[1]
    rows = _padded(truth, scores, -np.inf)
    sizes = np.tile(truth.image_sizes, 2)
    if map_boxes is not None:
        candidates = candidates.extended(torch.from_numpy(map_boxes / sizes).float().unsqueeze(1))
        rows = torch.cat([rows, torch.full((len(rows), 1), torch.inf)], 1)
    boxes: np.ndarray = read_out(voting, candidates, rows, count).numpy() * sizes.astype(np.float64)
    return boxes


def teacher_scores(truth: GroundTruth, config: DistillationConfig) -> np.ndarray:
    """What the distillation imitates: the teacher's share (T,) float64 of each proposal of an expression, 0
    where there is no map."""
    proposals, maps = _proposals(truth), truth.matcher_maps
    shares = torch.zeros(proposals.valid.shape)
    cells = np.maximum(maps.sizes.prod(axis=1) * shares.shape[1], SIDE**2)
    for rows in maps.batches(np.zeros((len(truth), 0), dtype=np.int64), cells):
        cams = torch.from_numpy(maps.stack(rows))
        cam_boxes = boxes_around(cams, config.thresholds)
        shares[rows] = teacher(config, cams, cam_boxes, proposals.take(torch.from_numpy(rows)))
    of_boxes: np.ndarray = shares.double().numpy()[truth.proposals.owner, truth.proposals.position]
    return of_boxes


def _proposals(truth: GroundTruth) -> Proposals:
    """The proposals of each expression's image, best first, as the grounder is given them."""
    owner, position = truth.proposals.owner, truth.proposals.position
    sizes = np.tile(truth.image_sizes, 2).astype(np.float32)
    boxes = truth.proposals.boxes_xyxy.astype(np.float32) / sizes[owner]
    listed = truth.objectness[truth.image_proposals.starts[truth.image_index[owner]] + position]
    return Proposals(
        _padded(truth, boxes, 0),
        _padded(truth, listed.astype(np.float32), 0),
        _padded(truth, np.ones(len(owner), dtype=bool), False),
    )


def _padded(truth: GroundTruth, values: np.ndarray, empty: float) -> Tensor:
    """Values (T, ...) as rows (N, K, ...), `empty` beyond the proposals of an image; K is at least 1."""
    lists = truth.proposals
    rows = np.full((len(truth), max(lists.counts.max(initial=0), 1), *values.shape[1:]), empty, values.dtype)
    rows[lists.owner, lists.position] = values
    return torch.from_numpy(rows)
