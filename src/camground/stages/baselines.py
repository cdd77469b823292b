"""Baselines that learn nothing from captions beyond the matcher's map, and the oracle bound.

One process computes and evaluates all: random (one run a seed), centre, whole_image, largest,
objectness, gradcam_ranking, gradcam_box and oracle (one run each, under the first seed).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from camground.data.boxes import area
from camground.evaluation.ground_truth import GroundTruth, load
from camground.evaluation.protocol import Protocol, one_of, settings
from camground.matcher import map_geometry
from camground.stages.evaluate import Evaluation, evaluate, summary
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log, track


@dataclass(frozen=True)
class Settings:
    """Config section `baselines`; see `config.yaml` for what each key means."""

    rng_seed: int
    whole_image_share: float
    centre: dict[str, float]
    gradcam_ranking: dict[str, float]
    gradcam_box: dict[str, Any]

    def __post_init__(self) -> None:
        one_of(self.gradcam_box["component"], ("largest", "all"), "baselines.gradcam_box.component")


@dataclass(frozen=True)
class Choice:
    """A baseline's answer for N expressions.

    boxes_xyxy: (N, 4) float64. score: (N,). rank: (N,) of the chosen proposal, -1 for another box.
    present: (N,) bool, false where the baseline has no answer (no proposals, or no map).
    """

    boxes_xyxy: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    present: np.ndarray


def random(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """A proposal of the image, each as likely as another."""
    draws = np.random.default_rng([config.rng_seed, seed]).random(len(truth))
    counts = truth.choices.counts
    return _choose(truth, (draws * counts).astype(np.int64), 1 / np.maximum(counts, 1))


def centre(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """The box in the middle of the image with `centre.side` of its width and height."""
    margin = (1 - config.centre["side"]) / 2
    return _free(truth, np.array([margin, margin, 1 - margin, 1 - margin]))


def whole_image(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """The whole image."""
    return _free(truth, np.array([0.0, 0.0, 1.0, 1.0]))


def largest(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """The largest proposal below `whole_image_share` of the image; if none is, the smallest."""
    share = _shares(truth)
    order = np.where(share < config.whole_image_share, share, -share)
    return _choose(truth, truth.choices.argmax(order), np.abs(truth.choices.maximum(order)))


def objectness(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """The proposal of best rank below `whole_image_share` of the image; if none is, rank 0."""
    whole = _shares(truth) >= config.whole_image_share
    order = -truth.choices.position - len(whole) * whole.astype(np.int64)
    place = truth.choices.argmax(order)
    present = truth.choices.counts > 0
    score = np.zeros(len(truth))
    score[present] = truth.objectness[(truth.proposals.starts[truth.image_of] + place)[present]]
    return _choose(truth, place, score)


def gradcam_ranking(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """The proposal with the largest sum of the matcher's map inside / area^a.

    As in ALBEF (Li et al. 2021), where a = 0.5. Areas are shares of the image, so that scores
    compare across images. Equal scores, as on a map of zeros, leave the proposal of best rank.
    """
    lists, share, maps = truth.choices, _shares(truth), truth.matcher_maps
    sums = np.zeros(len(share))
    no_keys = np.zeros((len(truth), 0), dtype=np.int64)
    row_of = np.full(len(truth), -1)
    for which in maps.batches(no_keys, maps.sizes.prod(axis=1)):
        height, width = maps.sizes[which[0]]
        row_of[:] = -1
        row_of[which] = np.arange(len(which))
        boxes = np.flatnonzero(row_of[lists.owner] >= 0)
        owner = lists.owner[boxes]
        sizes = np.tile(truth.image_sizes[owner], 2)
        cells = lists.boxes_xyxy[boxes] / sizes * [width, height, width, height]
        inside = map_geometry.box_sums(maps.stack(which), row_of[owner], cells)
        sums[boxes] = inside / (height * width)
    exponent = config.gradcam_ranking["area_exponent"]
    scores = sums / np.maximum(share, np.finfo(float).tiny) ** exponent
    chosen = _choose(truth, lists.argmax(scores), lists.maximum(scores))
    return Choice(chosen.boxes_xyxy, chosen.score, chosen.rank, chosen.present & maps.present)


def gradcam_box(truth: GroundTruth, config: Settings, seed: int) -> Choice:
    """The box around where the matcher's map, enlarged bilinearly, reaches a share of its maximum.

    The score is the map's mean in the box.
    """
    maps, grids = truth.matcher_maps, truth.grids
    boxes, score = np.zeros((len(truth), 4)), np.zeros(len(truth))
    threshold, component = config.gradcam_box["threshold"], config.gradcam_box["component"]
    for which in maps.batches(grids, grids.prod(axis=1)):
        height, width = grids[which[0]].tolist()
        enlarged = map_geometry.enlarge(maps.stack(which), (height, width))
        cells = map_geometry.threshold_boxes(enlarged, threshold, component)
        sums = map_geometry.box_sums(enlarged, np.arange(len(which)), cells)
        score[which] = sums / area(cells)
        boxes[which] = cells / [width, height, width, height] * np.tile(truth.image_sizes[which], 2)
    return Choice(boxes, score, np.full(len(truth), -1), maps.present)


def oracle(truth: GroundTruth, config: Settings, seed: int, evaluation: Evaluation) -> Choice:
    """The proposal of best IoU with the target: the bound of a method that chooses proposals."""
    return _choose(truth, evaluation.best_place, evaluation.best_iou)


Baseline = Callable[[GroundTruth, Settings, int], Choice]
BASELINES: dict[str, Baseline | None] = {
    "random": random,
    "centre": centre,
    "whole_image": whole_image,
    "largest": largest,
    "objectness": objectness,
    "gradcam_ranking": gradcam_ranking,
    "gradcam_box": gradcam_box,
    "oracle": None,  # needs the targets; see `choose`
}
# Their own map is the matcher's.
WITH_MAP = ("gradcam_ranking", "gradcam_box")


def runs(name: str, seeds: list[int]) -> list[int]:
    """The seeds that baseline `name` has results for: all for `random`, else the first alone."""
    return list(seeds) if name == "random" else list(seeds[:1])


def choose(name: str, evaluation: Evaluation, config: Settings, seed: int) -> Choice:
    """Baseline `name` on every expression of the evaluation."""
    made = BASELINES[name]
    if made is None:
        return oracle(evaluation.truth, config, seed, evaluation)
    return made(evaluation.truth, config, seed)


def prediction_rows(choice: Choice, truth: GroundTruth, with_map: bool) -> pd.DataFrame:
    """Rows of the `predictions` table for the expressions that have an answer."""
    kept = np.flatnonzero(choice.present)
    count = len(kept)
    rows: dict[str, Any] = {
        "expression_id": truth.ids[kept].tolist(),
        "rank": choice.rank[kept],
        "box_xyxy": choice.boxes_xyxy[kept].astype(np.float32).tolist(),
        "score": choice.score[kept],
        "cam_height": [None] * count,
        "cam_width": [None] * count,
        "cam": [None] * count,
        "image_score": [None] * count,
        "erased_score": [None] * count,
    }
    if with_map:
        maps = truth.matcher_maps
        rows["cam_height"], rows["cam_width"] = maps.sizes[kept].T.tolist() if count else ([], [])
        rows["cam"] = [maps.data[i] for i in kept]
    return pd.DataFrame(rows, index=range(count)).astype({"cam": object})


def _shares(truth: GroundTruth) -> np.ndarray:
    """(P,) share of its image's area of each box of `truth.choices`."""
    return area(truth.choices.boxes_xyxy) / truth.image_sizes.prod(axis=1)[truth.choices.owner]


def _choose(truth: GroundTruth, place: np.ndarray, score: np.ndarray) -> Choice:
    """The proposals at `place` (N,) of each expression's list; no answer if the list is empty."""
    present = truth.choices.counts > 0
    boxes, rank = np.zeros((len(truth), 4)), np.full(len(truth), -1)
    at = (truth.proposals.starts[truth.image_of] + place)[present]
    boxes[present], rank[present] = truth.proposals.boxes_xyxy[at], truth.ranks[at]
    return Choice(boxes, np.where(present, score, 0.0), rank, present)


def _free(truth: GroundTruth, shares: np.ndarray) -> Choice:
    """The box at `shares` (4,) of every image, whatever its proposals."""
    count = len(truth)
    boxes = np.tile(truth.image_sizes, 2) * shares
    return Choice(boxes, np.ones(count), np.full(count, -1), np.ones(count, dtype=bool))


@dataclass(frozen=True)
class Task:
    """What `--config` holds."""

    dataset: str
    seeds: list[int]
    evaluate: dict
    baselines: dict


def main() -> None:
    """Command line of the stage."""
    parser = stage.parser("baselines", __doc__)
    for name in ("images", "expressions", "targets", "proposals", "cams"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--output-root",
        type=Path,
        required=True,
        help="writes <baseline>/seed<k>/{predictions,metrics,outcomes}.parquet in this folder",
    )
    args = parser.parse_args()
    task = settings(Task, stage.read_config(args.config), "--config")
    protocol = settings(Protocol, task.evaluate, "evaluate")
    config = settings(Settings, task.baselines, "baselines")
    if not task.seeds:
        raise UserError("config `seeds`: at least one seed is needed")
    truth = load(protocol, args.images, args.expressions, args.targets, args.proposals, args.cams)
    evaluation = Evaluation(truth)
    jobs = [(name, seed) for name in BASELINES for seed in runs(name, task.seeds)]
    for name, seed in track(jobs, "baselines"):
        folder = args.output_root / name / f"seed{seed}"
        rows = prediction_rows(
            choose(name, evaluation, config, seed), truth, with_map=name in WITH_MAP
        )
        path = folder / "predictions.parquet"
        tables.write("predictions", rows, path)
        # Read again, so that what is evaluated is what the file holds.
        rows = tables.read("predictions", path)
        outcomes, means = evaluate(evaluation, rows, path, task.dataset, name, seed)
        tables.write(
            "outcomes",
            pa.Table.from_pandas(outcomes, preserve_index=False),
            folder / "outcomes.parquet",
        )
        tables.write(
            "metrics",
            pa.Table.from_pandas(means, preserve_index=False),
            folder / "metrics.parquet",
        )
        log.info("%s seed %d: %s", name, seed, summary(means))


if __name__ == "__main__":
    stage.run("baselines", main)
