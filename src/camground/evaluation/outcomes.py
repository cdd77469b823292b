"""One method's predictions measured: `outcomes`, one row per expression and metric, and their means.

Counted is every expression of the evaluated splits that has a target. One without a prediction, such as
one whose image has no proposals, counts as wrong (IoU 0), and the log says how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from camground.evaluation import metrics, word_swaps
from camground.evaluation.ground_truth import GroundTruth
from camground.evaluation.metric_table import METRICS, OF_EXPRESSIONS, OF_SWAPS, PRIMARY, WORD_CLASS
from camground.grounder.config import FOUND_FROM
from camground.matcher import map_geometry
from camground.matcher.maps import Maps, absent, fill
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log

# Columns of `predictions` that a method may not have.
SCORES = ("image_score", "erased_score", "presence", "presence_other")


@dataclass(frozen=True)
class Measured:
    """Predictions for the N expressions of `truth`, and the outcomes (N,), float64, of `metric_table`.

    present: (N,) bool. boxes_xyxy: (N, 4) float64, the answers; chosen_xyxy: those before the vote.
    image_score, erased_score, presence, presence_other: as in the table, (N,) float64, nan where unknown.
    maps: the method's own.
    """

    truth: GroundTruth
    present: np.ndarray
    boxes_xyxy: np.ndarray
    chosen_xyxy: np.ndarray
    image_score: np.ndarray
    erased_score: np.ndarray
    presence: np.ndarray
    presence_other: np.ndarray
    maps: Maps

    @cached_property
    def iou(self) -> np.ndarray:
        """IoU with the best target box, 0 without a prediction."""
        iou = metrics.best_iou(self.boxes_xyxy, self.truth.targets)
        return np.where(self.present, iou, 0.0)

    @cached_property
    def unvoted(self) -> Measured:
        """The same predictions with the boxes that were chosen, before the vote."""
        return replace(self, boxes_xyxy=self.chosen_xyxy)

    def accuracy(self, threshold: float) -> np.ndarray:
        """1 where the IoU passes the threshold, else 0."""
        hit = self.truth.hit(self.iou, threshold) & self.present
        return np.where(hit, 1.0, 0.0)

    @cached_property
    def pointing(self) -> np.ndarray:
        """1 where the peak of the own map, or the box's centre without one, lies in a target box."""
        maps, points = self.maps, np.full((len(self.truth), 2), np.nan)
        for rows in maps.batches(np.zeros((len(maps), 0), dtype=int), maps.sizes.prod(axis=1)):
            points[rows] = map_geometry.peaks(maps.stack(rows)) * self.truth.image_sizes[rows]
        centres = (self.boxes_xyxy[:, :2] + self.boxes_xyxy[:, 2:]) / 2
        points = np.where(np.isnan(points), centres, points)
        hit = metrics.pointing(points, self.truth.all_targets) & self.present
        return np.where(hit, 1.0, 0.0)

    @cached_property
    def right_object(self) -> np.ndarray:
        """1 where the box overlaps the object meant more than any other, else 0; nan where unknown."""
        truth = self.truth
        right = metrics.right_object(self.boxes_xyxy, truth.objects, truth.object_index)
        return np.where(self.present | np.isnan(right), right, 0.0)

    @cached_property
    def right_extent(self) -> np.ndarray:
        """Accuracy at 0.5 of the boxes of the right object; nan for the others."""
        return np.where(self.right_object == 1, self.accuracy(0.5), np.nan)

    @staticmethod
    def found(presence: np.ndarray) -> np.ndarray:
        """1 where a probability (N,) is at least `FOUND_FROM`, else 0; nan where unknown."""
        return np.where(np.isnan(presence), np.nan, presence >= FOUND_FROM)

    @cached_property
    def ranking(self) -> np.ndarray:
        """The share of other images' phrases, each in an image of the same split, that are less likely to be
        there than the expression is in its own, ties by half: the mean is the area under the ROC curve. nan
        where unknown."""
        shares = np.full(len(self.truth), np.nan)
        for rows in self.truth.expressions.groupby("split", sort=False).indices.values():
            others = np.sort(self.presence_other[rows][~np.isnan(self.presence_other[rows])])
            own = rows[~np.isnan(self.presence[rows])]
            if len(others):
                sides = (np.searchsorted(others, self.presence[own], side) for side in ("left", "right"))
                shares[own] = sum(sides) / (2 * len(others))
        return shares

    @cached_property
    def cam(self) -> dict[str, np.ndarray]:
        """`GroundTruth.map_statistics` of the own maps."""
        return self.truth.map_statistics(self.maps)


@dataclass(frozen=True)
class Run:
    """Whose predictions they are."""

    dataset: str
    variant: str
    seed: int


def align(rows: pd.DataFrame, truth: GroundTruth, path: Path) -> Measured:
    """Rows of a `predictions` table in the order of `truth`; those without a target are left out.

    Raises `UserError` for an unknown expression, one predicted twice, or a box that is not finite.
    """
    ids = pd.Index(rows["expression_id"].astype(object))
    unknown = ids.difference(truth.study_ids)
    if len(unknown):
        raise UserError(
            f"{path}: expression {unknown[0]} ({len(unknown)} in all) is not in the study's"
            " expressions; rerun `predict`"
        )
    if not ids.is_unique:
        raise UserError(f"{path}: expression {ids[ids.duplicated()][0]} is predicted twice")
    rows = rows[ids.isin(truth.ids)]
    index, count = truth.ids.get_indexer(pd.Index(rows["expression_id"])), len(truth)
    present = np.zeros(count, dtype=bool)
    present[index] = True
    voted, chosen = np.zeros((count, 4)), np.zeros((count, 4))
    for name, boxes in {"box_xyxy": voted, "chosen_box_xyxy": chosen}.items():
        if len(rows):
            boxes[index] = np.stack(rows[name].tolist())
        broken = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
        if len(broken):
            raise UserError(f"{path}: {name} of expression {truth.ids[broken[0]]} is not finite")
    scores = {name: np.full(count, np.nan) for name in SCORES}
    for name, values in scores.items():
        values[index] = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
    maps = absent(count)
    fill(maps.sizes, maps.data, rows, truth.ids, ("cam_height", "cam_width", "cam"), path)
    return Measured(truth, present, voted, chosen, maps=maps, **scores)


def outcome_rows(values: Mapping[str, np.ndarray], expressions: pd.DataFrame) -> pd.DataFrame:
    """Rows of the `outcomes` table of `values` (N,) by metric, each in the order of `expressions` (N rows).

    nan values are left out. The additional column `row` is the row of `expressions`.
    """
    parts = []
    for name, outcomes in values.items():
        rows = np.flatnonzero(~np.isnan(outcomes))
        part = expressions[["expression_id", "image_id", "split"]].iloc[rows]
        parts.append(part.assign(name=name, value=outcomes[rows], row=rows))
    return pd.concat(parts, ignore_index=True)


def mean_rows(outcomes: pd.DataFrame, groups: pd.DataFrame, run: Run) -> pd.DataFrame:
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
    return table.assign(dataset=run.dataset, variant=run.variant, seed=run.seed)


def evaluate(
    truth: GroundTruth, rows: pd.DataFrame, path: Path, run: Run
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables `outcomes` and `metrics` of the rows of a `predictions` table read from `path`."""
    measured = align(rows, truth, path)
    lost = truth.ids[~measured.present]
    if len(lost):
        log.warning(
            "%s: %d of %d expressions have no prediction and count as wrong, such as %s",
            *(run.variant, len(lost), len(truth), lost[0]),
        )
    values = {metric.name: metric.outcomes(measured) for metric in OF_EXPRESSIONS}
    outcomes = outcome_rows(values, truth.expressions)
    return outcomes.drop(columns="row"), mean_rows(outcomes, truth.groups, run)


def evaluate_swaps(
    truth: GroundTruth, rows: pd.DataFrame, path: Path, run: Run
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of a `swap_scores` table. An outcome's expression_id is the swap's, its image and split are
    those of the swapped expression."""
    measured = word_swaps.align(rows, truth, path)
    values = {metric.name: metric.outcomes(measured) for metric in OF_SWAPS}
    outcomes = outcome_rows(values, measured.rows)
    return outcomes.drop(columns="row"), mean_rows(outcomes, measured.rows[[WORD_CLASS]], run)


def evaluate_files(
    truth: GroundTruth, run: Run, predictions: Path | None, swaps: Path | None, outcomes: Path, metrics: Path
) -> None:
    """Evaluate the tables `predictions` and `swap_scores`, those of the two that a method has; write the
    tables `outcomes` and `metrics`."""
    parts = []
    if predictions is not None:
        parts.append(evaluate(truth, tables.read("predictions", predictions), predictions, run))
    if swaps is not None:
        parts.append(evaluate_swaps(truth, tables.read("swap_scores", swaps), swaps, run))
    of_expressions, means = (pd.concat(rows, ignore_index=True) for rows in zip(*parts, strict=True))
    tables.write("outcomes", of_expressions, outcomes)
    tables.write("metrics", means, metrics)
    log.info("%s seed %d: %s", run.variant, run.seed, summary(means))


def summary(means: pd.DataFrame) -> str:
    """One line: accuracy at 0.5 of each split, or of word swaps without any."""
    metric = PRIMARY if (means["metric"] == PRIMARY).any() else "word_swap"
    rows, heading = means[(means["metric"] == metric) & (means["group"] == "all")], METRICS[metric].heading
    texts = [f"{row.split} {heading} {row.value:.3f} (n {row.n})" for row in rows.itertuples()]
    return ", ".join(texts) or "nothing of the evaluated splits to measure"
