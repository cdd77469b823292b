"""Baselines that learn nothing from captions beyond the matcher's map, the floor of word swaps, and the
oracle bound.

A baseline is a function and its entry in `BASELINES`, which rules, stage and ablation read; importing this
module loads NumPy and nothing heavier. Those that score proposals are read out as the grounder is
(`candidates.vote`); `random`, `centre`, `whole_image` and `oracle` have nothing to vote by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camground.data.boxes import area
from camground.matcher import map_geometry

if TYPE_CHECKING:
    import pandas as pd

    from camground.evaluation.candidates import ScoredBoxes
    from camground.evaluation.ground_truth import GroundTruth
    from camground.features.store import FeatureStore
    from camground.grounder.config import PredictConfig
    from camground.training.config import DistillationConfig

# Of the random baseline, with the study's seed.
RANDOM_SEED = 0
# Share of the image's width and height that the centre box has.
CENTRE_SIDE = 0.7
# `largest` and `objectness` leave out proposals of at least this share of the image.
WHOLE_IMAGE_SHARE = 0.95


@dataclass(frozen=True)
class Choice:
    """A baseline's answer for N expressions.

    boxes_xyxy: (N, 4) float64, the chosen boxes. score: (N,). rank: (N,) of the chosen proposal, -1 for
    another box. present: (N,) bool, false where the baseline has no answer (no proposals, or no map).
    voted_xyxy: (N, 4) float64, what the vote around the chosen boxes gives; None where nothing votes.
    """

    boxes_xyxy: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    present: np.ndarray
    voted_xyxy: np.ndarray | None = None


@dataclass(frozen=True)
class Context:
    """What a baseline may use: the expressions, the seed, of the study's config `predict`,
    `gradcam.box_threshold` and `losses.distillation`, and the texts' features, which a teacher that believes
    labels needs."""

    truth: GroundTruth
    seed: int
    predict: PredictConfig
    box_threshold: float
    distillation: DistillationConfig
    store: FeatureStore | None = None


def random(context: Context) -> Choice:
    """A proposal of the image, each as likely as another."""
    truth = context.truth
    draws = np.random.default_rng([RANDOM_SEED, context.seed]).random(len(truth))
    counts = truth.proposals.counts
    return _choose(truth, (draws * counts).astype(np.int64), 1 / np.maximum(counts, 1))


def centre(context: Context) -> Choice:
    """The box in the middle of the image with `CENTRE_SIDE` of its width and height."""
    margin = (1 - CENTRE_SIDE) / 2
    return _fixed(context.truth, np.array([margin, margin, 1 - margin, 1 - margin]))


def whole_image(context: Context) -> Choice:
    """The whole image."""
    return _fixed(context.truth, np.array([0.0, 0.0, 1.0, 1.0]))


def largest(context: Context) -> Choice:
    """The largest proposal below `WHOLE_IMAGE_SHARE` of the image; if none is, the smallest."""
    share = _shares(context.truth)
    choice = _highest(context, np.where(share < WHOLE_IMAGE_SHARE, share, -share))
    return replace(choice, score=np.abs(choice.score))


def objectness(context: Context) -> Choice:
    """The proposal of best rank below `WHOLE_IMAGE_SHARE` of the image; if none is, rank 0."""
    truth = context.truth
    whole = _shares(truth) >= WHOLE_IMAGE_SHARE
    order = -truth.proposals.position - len(whole) * whole.astype(np.float64)
    choice, score = _highest(context, order), np.zeros(len(truth))
    rows = _rows(truth, truth.proposals.argmax(order))
    score[choice.present] = truth.objectness[rows[choice.present]]
    return replace(choice, score=score)


def gradcam_ranking(context: Context) -> Choice:
    """The proposal with the largest sum of the matcher's map inside / area^`AREA_EXPONENT`.

    Areas are shares of the image, so that scores compare across images. A map of zeros gives no answer.
    """
    truth = context.truth
    proposals, share, maps = truth.proposals, _shares(truth), truth.matcher_maps
    sums = np.zeros(len(share))
    row_of = np.full(len(truth), -1)
    for rows in maps.batches(np.zeros((len(truth), 0), dtype=np.int64), maps.sizes.prod(axis=1)):
        height, width = maps.sizes[rows[0]]
        row_of[:] = -1
        row_of[rows] = np.arange(len(rows))
        boxes = np.flatnonzero(row_of[proposals.owner] >= 0)
        owner = proposals.owner[boxes]
        sizes = np.tile(truth.image_sizes[owner], 2)
        cells = proposals.boxes_xyxy[boxes] / sizes * [width, height, width, height]
        inside = map_geometry.box_sums(maps.stack(rows), row_of[owner], cells)
        sums[boxes] = inside / (height * width)
    scores = sums / np.maximum(share, np.finfo(float).tiny) ** map_geometry.AREA_EXPONENT
    return _where_mapped(truth, _highest(context, scores))


def gradcam_box(context: Context) -> Choice:
    """The box around the largest component of the matcher's map, enlarged bilinearly, that reaches
    `box_threshold` of its maximum. The score is the map's mean in the box; proposals vote by their IoU with
    it. A map of zeros gives no answer."""
    from camground.evaluation.candidates import ScoredBoxes, vote
    from camground.evaluation.metrics import aligned_iou

    truth, proposals = context.truth, context.truth.proposals
    maps, grids = truth.matcher_maps, truth.grids
    boxes, score = np.zeros((len(truth), 4)), np.zeros(len(truth))
    for rows in maps.batches(grids, grids.prod(axis=1)):
        height, width = grids[rows[0]].tolist()
        enlarged = map_geometry.enlarge(maps.stack(rows), (height, width))
        cells = map_geometry.threshold_boxes(enlarged, context.box_threshold)
        sums = map_geometry.box_sums(enlarged, np.arange(len(rows)), cells)
        score[rows] = sums / np.maximum(area(cells), 1)
        boxes[rows] = cells / [width, height, width, height] * np.tile(truth.image_sizes[rows], 2)
    chosen = ScoredBoxes(boxes[:, None], np.full((len(truth), 1), np.inf))
    overlap = aligned_iou(boxes[proposals.owner], proposals.boxes_xyxy)
    voted = vote(context.predict.voting, truth, overlap, chosen)
    return Choice(boxes, score, np.full(len(truth), -1), maps.nonzero, voted)


def teacher(context: Context) -> Choice:
    """The candidate that the distillation's teacher prefers: what the study's `losses.distillation` makes of
    the matcher's map, with no grounder to imitate it. As a grounder's, its candidates are the proposals and
    boxes around the map, here the matcher's. A map of zeros gives no answer."""
    from camground.evaluation.candidates import teacher_scores

    truth = context.truth
    config, map_boxes = context.distillation, context.predict.map_boxes
    scores, around_map = teacher_scores(truth, config, map_boxes, context.store)
    return _where_mapped(truth, _highest(context, scores, around_map))


def oracle(context: Context) -> Choice:
    """The proposal of best IoU with the target: the bound of a method that chooses proposals."""
    iou, index = context.truth.best_proposal
    return _choose(context.truth, index, iou)


@dataclass(frozen=True)
class Baseline:
    """An entry of `BASELINES`. choose: its answers; None for the one that answers word swaps alone.
    by_seed: chance or the seed's map decides, so it runs for every seed. own_map: the map it shows is the
    matcher's."""

    choose: Callable[[Context], Choice] | None
    by_seed: bool = False
    own_map: bool = False

    @property
    def tested(self) -> bool:
        """Whether it is among the study's tests: it uses what was learnt from captions, the matcher's map;
        the others are floors and the bound."""
        return self.own_map

    def seeds(self, seeds: Sequence[int]) -> list[int]:
        """The study's seeds that it has results for: all if the seed changes it, else the first alone."""
        return list(seeds) if self.by_seed else list(seeds[:1])


BASELINES = {
    "random": Baseline(random, by_seed=True),
    "centre": Baseline(centre),
    "whole_image": Baseline(whole_image),
    "largest": Baseline(largest),
    "objectness": Baseline(objectness),
    "gradcam_ranking": Baseline(gradcam_ranking, by_seed=True, own_map=True),
    "gradcam_box": Baseline(gradcam_box, by_seed=True, own_map=True),
    "teacher": Baseline(teacher, by_seed=True, own_map=True),
    "text_only": Baseline(None),
    "oracle": Baseline(oracle),
}


def evaluate_baselines(
    truth_of: Callable[[int], GroundTruth],
    dataset: str,
    seeds: Sequence[int],
    baselines: Sequence[str],
    predict: PredictConfig,
    box_threshold: float,
    distillation: DistillationConfig,
    expressions: Path,
    output_root: Path,
    store: FeatureStore | None = None,
) -> None:
    """Predict and evaluate with the named `baselines`; writes <baseline>/seed<k>/{predictions,metrics,
    outcomes}.parquet in `output_root`. truth_of: the ground truth with the maps of a seed's matcher.
    expressions: the study's table; store: see `Context`."""
    from camground.evaluation import text_only
    from camground.evaluation.outcomes import Run, evaluate_files
    from camground.study import tables
    from camground.study.progress import track

    for seed in seeds:
        truth = truth_of(seed)
        names = [name for name in baselines if seed in BASELINES[name].seeds(seeds)]
        for name in track(names, f"baselines of seed {seed}"):
            folder = output_root / name / f"seed{seed}"
            baseline, run = BASELINES[name], Run(dataset, name, seed)
            predictions, swaps = folder / "predictions.parquet", folder / "swap_scores.parquet"
            outputs = folder / "outcomes.parquet", folder / "metrics.parquet"
            if baseline.choose is None:
                scores = text_only.swap_scores(tables.read("expressions", expressions), truth)
                tables.write("swap_scores", scores, swaps)
                tables.write("predictions", [], predictions)
                evaluate_files(truth, run, None, swaps, *outputs)
                continue
            # the teacher is the one that this seed's training imitates
            taught = baseline.choose is teacher
            seen = truth_of(distillation.seed_of_maps(seed, seeds)) if taught else truth
            choice = baseline.choose(Context(seen, seed, predict, box_threshold, distillation, store))
            tables.write("predictions", prediction_rows(choice, seen, baseline.own_map), predictions)
            evaluate_files(seen, run, predictions, None, *outputs)


def prediction_rows(choice: Choice, truth: GroundTruth, own_map: bool) -> pd.DataFrame:
    """Rows of the `predictions` table for the expressions that have an answer."""
    import pandas as pd

    from camground.evaluation.outcomes import SCORES

    answered = np.flatnonzero(choice.present)
    voted = choice.boxes_xyxy if choice.voted_xyxy is None else choice.voted_xyxy
    rows = pd.DataFrame(
        {
            "expression_id": truth.ids[answered].tolist(),
            "rank": choice.rank[answered],
            "box_xyxy": voted[answered].astype(np.float32).tolist(),
            "chosen_box_xyxy": choice.boxes_xyxy[answered].astype(np.float32).tolist(),
            "score": choice.score[answered],
        }
    )
    rows[["cam_height", "cam_width", "cam", *SCORES]] = None
    if own_map:
        maps = truth.matcher_maps
        rows["cam_height"], rows["cam_width"] = maps.sizes[answered].T
        rows["cam"] = [maps.data[i] for i in answered]
    return rows


def _shares(truth: GroundTruth) -> np.ndarray:
    """(P,) share of its image's area of each box of `truth.proposals`."""
    image_area = truth.image_sizes.prod(axis=1)[truth.proposals.owner]
    shares: np.ndarray = area(truth.proposals.boxes_xyxy) / image_area
    return shares


def _rows(truth: GroundTruth, index: np.ndarray) -> np.ndarray:
    """(N,) rows among the images' proposals of the proposals `index` (N,) of each expression's list."""
    rows: np.ndarray = truth.image_proposals.starts[truth.image_index] + index
    return rows


def _highest(context: Context, scores: np.ndarray, around_map: ScoredBoxes | None = None) -> Choice:
    """Each expression's candidate of the highest score, a proposal (T,) or a box around its map, the first of
    equals, and the vote around it."""
    from camground.evaluation.candidates import vote

    truth = context.truth
    choice = _choose(truth, truth.proposals.argmax(scores), truth.proposals.maximum(scores))
    if around_map is not None and around_map.scores.shape[1]:
        rows, best = np.arange(len(truth)), around_map.scores.argmax(axis=1)
        score = around_map.scores[rows, best]
        higher = choice.present & (score > choice.score)
        choice = replace(
            choice,
            boxes_xyxy=np.where(higher[:, None], around_map.boxes_xyxy[rows, best], choice.boxes_xyxy),
            score=np.where(higher, score, choice.score),
            rank=np.where(higher, -1, choice.rank),
        )
    return replace(choice, voted_xyxy=vote(context.predict.voting, truth, scores, around_map))


def _where_mapped(truth: GroundTruth, choice: Choice) -> Choice:
    """No answer where the matcher has no map, or one of zeros."""
    return replace(choice, present=choice.present & truth.matcher_maps.nonzero)


def _choose(truth: GroundTruth, index: np.ndarray, score: np.ndarray) -> Choice:
    """The proposals `index` (N,) of each expression's list; no answer if the list is empty."""
    present = truth.proposals.counts > 0
    boxes, rank = np.zeros((len(truth), 4)), np.full(len(truth), -1)
    rows = _rows(truth, index)[present]
    boxes[present], rank[present] = truth.image_proposals.boxes_xyxy[rows], truth.ranks[rows]
    return Choice(boxes, np.where(present, score, 0.0), rank, present)


def _fixed(truth: GroundTruth, shares: np.ndarray) -> Choice:
    """The box at `shares` (4,) of every image, whatever its proposals."""
    count = len(truth)
    boxes = np.tile(truth.image_sizes, 2) * shares
    return Choice(boxes, np.ones(count), np.full(count, -1), np.ones(count, dtype=bool))
