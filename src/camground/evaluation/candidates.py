"""Methods without training read out as the grounder is: its candidates, its teacher, its vote.

Flat values are (T,), one for each box of `GroundTruth.proposals`; rows are its N expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from camground.evaluation.ground_truth import GroundTruth
from camground.features.language import text_vectors
from camground.features.store import FeatureStore
from camground.grounder.config import VotingConfig
from camground.grounder.map_boxes import SIDE, boxes_around
from camground.grounder.read_out import read_out
from camground.grounder.regions import Labels, Proposals
from camground.training.config import DistillationConfig
from camground.training.distillation import teacher


@dataclass(frozen=True)
class ScoredBoxes:
    """E boxes of each of N expressions: boxes_xyxy (N, E, 4) float64, pixels; scores (N, E) float64."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray


def vote(
    voting: VotingConfig, truth: GroundTruth, scores: np.ndarray, around_map: ScoredBoxes | None = None
) -> np.ndarray:
    """Boxes (N, 4) float64, pixels, read out of the proposals by their scores (T,), and of the boxes around
    each expression's map by theirs."""
    candidates = _proposals(truth)
    count = candidates.boxes.shape[1]
    rows = _padded(truth, scores, -np.inf)
    sizes = np.tile(truth.image_sizes, 2)
    if around_map is not None:
        candidates = candidates.extended(torch.from_numpy(around_map.boxes_xyxy / sizes[:, None]).float())
        rows = torch.cat([rows, torch.from_numpy(around_map.scores).to(rows)], 1)
    boxes: np.ndarray = read_out(voting, candidates, rows, count).numpy() * sizes.astype(np.float64)
    return boxes


def teacher_scores(
    truth: GroundTruth,
    config: DistillationConfig,
    map_boxes: Sequence[float],
    store: FeatureStore | None = None,
) -> tuple[np.ndarray, ScoredBoxes]:
    """What the distillation imitates, among what a grounder chooses from: the teacher's share (T,) float64 of
    each proposal, and the boxes around the matcher's map at the shares `map_boxes` of its maximum, with
    theirs; 0 where there is no map. store: of the texts and labels, for a teacher that reads them."""
    proposals, maps = _proposals(truth, store), truth.matcher_maps
    texts = truth.expressions["text"].to_numpy(dtype=object)
    count = proposals.boxes.shape[1]
    boxes = torch.zeros(len(truth), len(map_boxes), 4)
    shares = torch.zeros(len(truth), count + len(map_boxes))
    cells = np.maximum(maps.sizes.prod(axis=1) * count, SIDE**2)
    for rows in maps.batches(np.zeros((len(truth), 0), dtype=np.int64), cells):
        cams = torch.from_numpy(maps.stack(rows))
        boxes[rows] = boxes_around(cams, map_boxes)
        candidates = proposals.take(torch.from_numpy(rows)).extended(boxes[rows])
        read = None if store is None else text_vectors(*store.texts(texts[rows].tolist()))
        shares[rows] = teacher(config, cams, boxes_around(cams, config.thresholds), candidates, read)
    of_candidates = shares.double().numpy()
    pixels = boxes.double().numpy() * np.tile(truth.image_sizes, 2)[:, None]
    of_proposals = of_candidates[truth.proposals.owner, truth.proposals.position]
    return of_proposals, ScoredBoxes(pixels, of_candidates[:, count:])


def _proposals(truth: GroundTruth, store: FeatureStore | None = None) -> Proposals:
    """The proposals of each expression's image, best first, as the grounder is given them; their labels with
    a store of them."""
    owner, position = truth.proposals.owner, truth.proposals.position
    sizes = np.tile(truth.image_sizes, 2).astype(np.float32)
    boxes = truth.proposals.boxes_xyxy.astype(np.float32) / sizes[owner]
    rows = truth.image_proposals.starts[truth.image_index[owner]] + position
    padded_boxes = _padded(truth, boxes, 0)
    objectness = _padded(truth, truth.objectness[rows].astype(np.float32), 0)
    labels, (index, names) = None, pd.factorize(truth.labels[rows], sort=True)
    if store is not None and len(names):
        vectors = store.vectors(names.tolist())
        labels = Labels.of(padded_boxes, objectness, _padded(truth, index, -1), vectors)
    valid, labelled = (_padded(truth, each, False) for each in (np.ones(len(owner), dtype=bool), index >= 0))
    return Proposals(padded_boxes, objectness, valid, labels, labelled)


def _padded(truth: GroundTruth, values: np.ndarray, empty: float) -> Tensor:
    """Values (T, ...) as rows (N, K, ...), `empty` beyond the proposals of an image; K is at least 1."""
    lists = truth.proposals
    rows = np.full((len(truth), max(lists.counts.max(initial=0), 1), *values.shape[1:]), empty, values.dtype)
    rows[lists.owner, lists.position] = values
    return torch.from_numpy(rows)
