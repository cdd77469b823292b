"""Evaluate one method's predictions: `outcomes`, a row an expression and name, and their means.

What is counted: every expression of `evaluate.splits` that has a target. One without a prediction,
such as one whose image has no proposals, counts as wrong (IoU 0), and the log says how many. With
`--swaps` the expressions' word swaps are counted too, under metrics of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from camground.evaluation import cam_metrics, metrics, word_swaps
from camground.evaluation.ground_truth import GroundTruth, load
from camground.evaluation.protocol import Protocol, settings
from camground.matcher import map_geometry
from camground.matcher.maps import Maps, absent, fill
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log

# The outcomes that no object, mask or map is needed for come first; the report keeps this order.
NAMES = (
    "iou",
    "acc@0.25",
    "acc@0.5",
    "acc@0.75",
    "pointing",
    "recall@0.5",
    "right_object",
    "right_extent",
    *(f"cam_{name}" for name in (*cam_metrics.STATISTICS, "entropy")),
    "image_score",
    "erased_score",
    *(f"matcher_cam_{name}" for name in (*cam_metrics.STATISTICS, "entropy")),
)


@dataclass(frozen=True)
class Predictions:
    """Predictions for the N expressions of a `GroundTruth`, in its order.

    present: (N,) bool. boxes_xyxy: (N, 4) float64. image_score, erased_score: (N,) float64, nan
    where unknown. maps: the method's own.
    """

    present: np.ndarray
    boxes_xyxy: np.ndarray
    image_score: np.ndarray
    erased_score: np.ndarray
    maps: Maps


def align(rows: pd.DataFrame, truth: GroundTruth, path: str | Path) -> Predictions:
    """Rows of a `predictions` table in the order of `truth`; those without a target are left out.

    Raises `UserError` for an unknown expression, one predicted twice, or a box that is not finite.
    """
    names = pd.Index(rows["expression_id"].astype(object))
    unknown = names.difference(truth.known_ids)
    if len(unknown):
        raise UserError(
            f"{path}: expression {unknown[0]} ({len(unknown)} in all) is not in the study's"
            " expressions; rerun `predict`"
        )
    if not names.is_unique:
        raise UserError(f"{path}: expression {names[names.duplicated()][0]} is predicted twice")
    place = truth.ids.astype(object).get_indexer(names)
    kept, rows = place[place >= 0], rows[place >= 0]
    count = len(truth)
    boxes = np.zeros((count, 4))
    if len(rows):
        boxes[kept] = np.stack(rows["box_xyxy"].tolist())
    broken = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(broken):
        raise UserError(f"{path}: the box of expression {truth.ids[broken[0]]} is not finite")
    present = np.zeros(count, dtype=bool)
    present[kept] = True
    scores = {name: np.full(count, np.nan) for name in ("image_score", "erased_score")}
    for name, values in scores.items():
        values[kept] = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    own = absent(count)
    fill(own.sizes, own.data, rows, truth.ids, ("cam_height", "cam_width", "cam"), path)
    return Predictions(present, boxes, maps=own, **scores)


def map_statistics(maps: Maps, truth: GroundTruth) -> dict[str, np.ndarray]:
    """coverage, iou, energy, spill, entropy of N maps, each (N,) float64; nan without a map."""
    names = (*cam_metrics.STATISTICS, "entropy")
    values = {name: np.full(len(truth), np.nan) for name in names}
    grids = truth.grids
    for which in maps.batches(grids, grids.prod(axis=1)):
        stack = maps.stack(which)
        height, width = grids[which[0]].tolist()
        enlarged = map_geometry.enlarge(stack, (height, width))
        fit = cam_metrics.region_statistics(
            enlarged, truth.regions(which), truth.protocol.map_threshold
        )
        for name, value in fit.items():
            values[name][which] = value
        values["entropy"][which] = cam_metrics.entropy(stack)
    return values


def map_peaks(maps: Maps, truth: GroundTruth) -> np.ndarray:
    """(N, 2) x, y in pixels of each map's largest cell's centre; nan where there is no map."""
    points = np.full((len(truth), 2), np.nan)
    for which in maps.batches(np.zeros((len(maps), 0), dtype=int), maps.sizes.prod(axis=1)):
        points[which] = map_geometry.peaks(maps.stack(which)) * truth.image_sizes[which]
    return points


class Evaluation:
    """Computes outcomes against one `GroundTruth`; what no prediction changes is computed once."""

    def __init__(self, truth: GroundTruth) -> None:
        self.truth = truth
        legacy, comparison = truth.protocol.legacy_iou, truth.protocol.iou_comparison
        self.best_iou, self.best_place = metrics.best_proposal_iou(
            truth.choices, truth.targets, legacy
        )
        self.shared = {"recall@0.5": metrics.hit(self.best_iou, 0.5, comparison).astype(float)}
        for name, value in map_statistics(truth.matcher_maps, truth).items():
            self.shared[f"matcher_cam_{name}"] = value

    def values(self, predicted: Predictions) -> dict[str, np.ndarray]:
        """Every outcome of `NAMES`, (N,) float64; nan where it does not apply."""
        truth, protocol = self.truth, self.truth.protocol
        present = predicted.present
        iou = metrics.best_iou(predicted.boxes_xyxy, truth.targets, protocol.legacy_iou)
        iou = np.where(present, iou, 0.0)
        out = {"iou": iou}
        for threshold in metrics.THRESHOLDS:
            hit = metrics.hit(iou, threshold, protocol.iou_comparison) & present
            out[f"acc@{threshold}"] = hit.astype(float)
        points = map_peaks(predicted.maps, truth)
        without = np.isnan(points[:, 0])
        points[without] = metrics.centres(predicted.boxes_xyxy[without])
        out["pointing"] = (metrics.pointing(points, truth.all_targets) & present).astype(float)
        right = metrics.right_object(
            predicted.boxes_xyxy, truth.objects, truth.object_index, protocol.legacy_iou
        )
        out["right_object"] = np.where(present | np.isnan(right), right, 0.0)
        out["right_extent"] = np.where(out["right_object"] == 1, out["acc@0.5"], np.nan)
        for name, value in map_statistics(predicted.maps, truth).items():
            out[f"cam_{name}"] = value
        out["image_score"], out["erased_score"] = predicted.image_score, predicted.erased_score
        out |= self.shared
        return {name: out[name] for name in NAMES}


def outcome_rows(values: dict[str, np.ndarray], truth: GroundTruth) -> pd.DataFrame:
    """Rows of the `outcomes` table: by name, then in the order of `truth`; nan values left out."""
    parts = []
    for name, value in values.items():
        kept = ~np.isnan(value)
        part = truth.rows.loc[kept, ["expression_id", "image_id", "split"]]
        parts.append(part.assign(name=name, value=value[kept], row=np.flatnonzero(kept)))
    return pd.concat(parts, ignore_index=True)


def mean_rows(
    outcomes: pd.DataFrame, groups: pd.DataFrame, dataset: str, variant: str, seed: int
) -> pd.DataFrame:
    """Rows of the `metrics` table: means of outcomes by split, name and group, float64, with n.

    A tuple in `groups` puts its expression in each of the groups that it lists.
    """
    parts = []
    for column in (None, *groups.columns):
        if column is None:
            label = pd.Series("all", index=outcomes.index, dtype=object)
        else:
            label = groups[column].iloc[outcomes["row"]].set_axis(outcomes.index).explode()
            label = label.map(lambda name, key=column: f"{key}={name}", na_action="ignore")
        counted = outcomes.loc[label.index]
        keys = [counted["split"], counted["name"], label.rename("group")]
        means = counted["value"].groupby(keys, sort=False).agg(["mean", "size"])
        parts.append(means.reset_index())
    table = pd.concat(parts, ignore_index=True)
    table = table.rename(columns={"name": "metric", "mean": "value", "size": "n"})
    return table.assign(dataset=dataset, variant=variant, seed=seed)


def evaluate(
    evaluation: Evaluation,
    rows: pd.DataFrame,
    path: str | Path,
    dataset: str,
    variant: str,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables `outcomes` and `metrics` of the rows of a `predictions` table read from `path`."""
    truth = evaluation.truth
    predicted = align(rows, truth, path)
    lost = int((~predicted.present).sum())
    if lost:
        example = truth.ids[~predicted.present][0]
        log.warning(
            "%s: %d of %d expressions have no prediction and count as wrong, such as %s",
            variant, lost, len(truth), example,
        )  # fmt: skip
    outcomes = outcome_rows(evaluation.values(predicted), truth)
    means = mean_rows(outcomes, truth.groups, dataset, variant, seed)
    return outcomes.drop(columns="row"), means


def evaluate_swaps(
    evaluation: Evaluation,
    rows: pd.DataFrame,
    path: str | Path,
    dataset: str,
    variant: str,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables `outcomes` and `metrics` of the rows of a `swap_scores` table read from `path`."""
    best = evaluation.best_iou, evaluation.best_place
    outcomes, groups = word_swaps.outcomes(rows, evaluation.truth, *best, path)
    means = mean_rows(outcomes, groups, dataset, variant, seed)
    return outcomes.drop(columns="row"), means


def main() -> None:
    """Command line of the stage."""
    parser = stage.parser("evaluate", __doc__)
    for name in ("images", "expressions", "targets", "predictions", "proposals", "cams"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--swaps", type=Path, help="table swap_scores, where a method has one")
    for name in ("metrics", "outcomes"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"output: table {name}")
    args = parser.parse_args()
    config = stage.read_config(args.config)
    task = settings(Task, config, "--config")
    protocol = settings(Protocol, task.evaluate, "evaluate")
    truth = load(protocol, args.images, args.expressions, args.targets, args.proposals, args.cams)
    rows = tables.read("predictions", args.predictions)
    evaluation, names = Evaluation(truth), (task.dataset, task.variant, task.seed)
    outcomes, means = evaluate(evaluation, rows, args.predictions, *names)
    swaps = None if args.swaps is None else tables.read("swap_scores", args.swaps)
    if swaps is not None and len(swaps):
        found = evaluate_swaps(evaluation, swaps, args.swaps, *names)
        outcomes = pd.concat([outcomes, found[0]], ignore_index=True)
        means = pd.concat([means, found[1]], ignore_index=True)
    tables.write("outcomes", pa.Table.from_pandas(outcomes, preserve_index=False), args.outcomes)
    tables.write("metrics", pa.Table.from_pandas(means, preserve_index=False), args.metrics)
    log.info("%s seed %d: %s", task.variant, task.seed, summary(means))


def summary(means: pd.DataFrame) -> str:
    """One line: accuracy at 0.5 of each split."""
    rows = means[(means["metric"] == "acc@0.5") & (means["group"] == "all")]
    found = [f"{r.split} Acc@0.5 {r.value:.3f} (n {r.n})" for r in rows.itertuples()]
    return ", ".join(found) or "no expression of the evaluated splits has a target"


@dataclass(frozen=True)
class Task:
    """What `--config` holds."""

    dataset: str
    variant: str
    seed: int
    evaluate: dict


if __name__ == "__main__":
    stage.run("evaluate", main)
