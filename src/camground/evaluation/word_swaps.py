"""Word swaps: does a changed word change what the grounder answers, and at the right object?

A swap is an expression with one word changed. Scores that tie count half, so a coin has 0.5; what the words
alone give away is the floor (`text_only`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from camground.evaluation import metrics
from camground.evaluation.ground_truth import GroundTruth
from camground.study.errors import UserError

LANDMARK = "landmark"  # the word class whose swaps may mean the same object


@dataclass(frozen=True)
class MeasuredSwaps:
    """S swaps beside the ground truth: the outcomes (S,), float64, that `metric_table` lists.

    rows: of a `swap_scores` table read from `path`, those of evaluated expressions. index: (S,) each one's
    expression in `truth`. An outcome raises `UserError` where a score that it needs is not finite.
    """

    truth: GroundTruth
    rows: pd.DataFrame
    index: np.ndarray
    path: Path

    @cached_property
    def false_of_image(self) -> np.ndarray:
        """(S,) bool: known to be false of the image; the other swaps may mean another object of it."""
        return self.rows["false_of_image"].to_numpy(dtype=bool)

    @cached_property
    def of_landmark(self) -> np.ndarray:
        """(S,) bool: swaps that may mean the same object if they are not false of the image."""
        return self.rows["word_class"].eq(LANDMARK).to_numpy(dtype=bool)

    @cached_property
    def image_score_falls(self) -> np.ndarray:
        """Of swaps that are false of the image: 1 where the image's score is higher with the expression."""
        own, other = (
            self._finite(self.rows[name].to_numpy(dtype=np.float64), self.rows)
            for name in ("image_score", "image_score_swap")
        )
        return np.where(self.false_of_image, wins(own, other), np.nan)

    @cached_property
    def object_score_falls(self) -> np.ndarray:
        """Of swaps that do not mean the same object, where a proposal reaches it (IoU of 0.5): 1 where the
        best such proposal's score is higher with the expression."""
        iou, best = self.truth.best_proposal
        reached = self.truth.hit(iou, 0.5)[self.index]
        counted = np.flatnonzero(reached & (self.false_of_image | ~self.of_landmark))
        rows, proposals = self.rows.iloc[counted], best[self.index[counted]]
        own, other = (
            self._finite(np.array([s[k] for s, k in zip(rows[name], proposals, strict=True)]), rows)
            for name in ("scores", "scores_swap")
        )
        out = np.full(len(self.rows), np.nan)
        out[counted] = wins(own, other)
        return out

    @cached_property
    def box_moves(self) -> np.ndarray:
        """Of swaps that may mean another object: 1 where the chosen box overlaps the expression's by less
        than IoU 0.5; nan without boxes."""
        own, other = (_boxes(self.rows[name]) for name in ("box_xyxy", "box_xyxy_swap"))
        counted = ~self.false_of_image & ~self.of_landmark
        counted &= np.isfinite(own).all(axis=1) & np.isfinite(other).all(axis=1)
        moved = ~self.truth.hit(metrics.aligned_iou(own, other), 0.5)
        return np.where(counted, moved.astype(np.float64), np.nan)

    def _finite(self, scores: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
        broken = np.flatnonzero(~np.isfinite(scores))
        if len(broken):
            swap = rows["expression_id"].iloc[broken[0]]
            raise UserError(f"{self.path}: a score of swap {swap} is not finite")
        return scores


def align(rows: pd.DataFrame, truth: GroundTruth, path: Path) -> MeasuredSwaps:
    """The rows of a `swap_scores` table read from `path` whose expressions are evaluated.

    Raises `UserError` for rows of another study, a swap that comes twice, or scores of other proposals.
    """
    for column in ("expression_id", "swap_of"):
        unknown = pd.Index(rows[column].astype(object)).difference(truth.study_ids)
        if len(unknown):
            raise UserError(
                f"{path}: expression {unknown[0]} is not in the study's expressions; rerun `predict`"
            )
    again = rows["expression_id"].duplicated()
    if again.any():
        raise UserError(f"{path}: swap {rows['expression_id'][again].iloc[0]} comes twice")
    rows = rows[rows["swap_of"].isin(truth.ids)].reset_index(drop=True)
    index = truth.ids.get_indexer(pd.Index(rows["swap_of"]))
    for column in ("scores", "scores_swap"):
        lengths = rows[column].map(len).to_numpy(dtype=np.int64)
        broken = np.flatnonzero(lengths != truth.proposals.counts[index])
        if len(broken):
            swap = rows["expression_id"].iloc[broken[0]]
            raise UserError(f"{path}: swap {swap} has scores of other proposals; rerun `predict`")
    of = truth.expressions.iloc[index]
    rows = rows.assign(image_id=of["image_id"].to_numpy(), split=of["split"].to_numpy())
    return MeasuredSwaps(truth, rows, index, path)


def wins(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where `own` is higher, 0.5 where both are equal, else 0."""
    out: np.ndarray = (np.sign(own - other) + 1) / 2
    return out


def _boxes(column: pd.Series) -> np.ndarray:
    """(S, 4) float64, nan where a box is null."""
    boxes = [np.full(4, np.nan) if box is None else np.asarray(box) for box in column]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
