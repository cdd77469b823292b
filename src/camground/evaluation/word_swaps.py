"""Word swaps as outcomes: does a changed word change what the grounder says, and at the right place?

`word_swap`: of the swaps that are false of the image, whether the image's score is higher with the true
expression. `word_swap_object`: of swaps whose expression's object has a proposal (IoU of at least 0.5),
whether that proposal's score is. A tie counts half in both, so chance is 0.5. `swap_moves`: of swaps that
may mean another object, whether the chosen box overlaps the expression's by less than IoU 0.5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from camground.evaluation import metrics
from camground.evaluation.ground_truth import GroundTruth
from camground.evaluation.protocol import Protocol
from camground.study.errors import UserError

NAMES = ("word_swap", "word_swap_object", "swap_moves")
LANDMARK = "landmark"  # the word class whose swaps may mean the same object


def wins(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where `own` is higher, 0.5 where both are equal, else 0."""
    out: np.ndarray = (np.sign(own - other) + 1) / 2
    return out


def moved(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Whether boxes (S, 4) are of another place than others (S, 4): 1 or 0; nan where one is nan."""
    known = np.isfinite(boxes_xyxy).all(axis=1) & np.isfinite(others_xyxy).all(axis=1)
    iou = metrics.aligned_iou(boxes_xyxy, others_xyxy, protocol.legacy_iou)
    same = metrics.hit(iou, 0.5, protocol.iou_comparison)
    return np.where(known, 1.0 - same, np.nan)


def checked(
    rows: pd.DataFrame, truth: GroundTruth, path: str | Path
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of the expressions that are evaluated, and each one's place (S,) in `truth`.

    Raises `UserError` for rows of another study, a swap that comes twice, or scores of other proposals.
    """
    for column in ("expression_id", "swap_of"):
        unknown = pd.Index(rows[column].astype(object)).difference(truth.known_ids)
        if len(unknown):
            raise UserError(
                f"{path}: expression {unknown[0]} is not in the study's expressions; rerun `predict`"
            )
    again = rows["expression_id"].duplicated()
    if again.any():
        raise UserError(f"{path}: swap {rows['expression_id'][again].iloc[0]} comes twice")
    place = truth.ids.astype(object).get_indexer(pd.Index(rows["swap_of"].astype(object)))
    kept = np.flatnonzero(place >= 0)
    rows, place = rows.iloc[kept].reset_index(drop=True), place[kept]
    for column in ("scores", "scores_swap"):
        lengths = rows[column].map(len).to_numpy(dtype=np.int64)
        broken = np.flatnonzero(lengths != truth.choices.counts[place])
        if len(broken):
            swap = rows["expression_id"].iloc[broken[0]]
            raise UserError(f"{path}: swap {swap} has scores of other proposals; rerun `predict`")
    return rows, place


def _finite(rows: pd.DataFrame, values: np.ndarray, path: str | Path) -> np.ndarray:
    """`values` (S,); `UserError` naming a row's swap where one is infinite."""
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        swap = rows["expression_id"].iloc[broken[0]]
        raise UserError(f"{path}: a score of swap {swap} is not finite")
    return values


def outcomes(
    rows: pd.DataFrame,
    truth: GroundTruth,
    best_iou: np.ndarray,
    best_place: np.ndarray,
    path: str | Path,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outcomes of the rows of a `swap_scores` table read from `path`, as `evaluate.outcome_rows` gives
    those of expressions (`expression_id` is the swap's), and their groups, column word_class.

    best_iou (N,), best_place (N,): of each expression of `truth` the best proposal and where it stands.
    """
    rows, place = checked(rows, truth, path)
    false = rows["false_of_image"].to_numpy(dtype=bool)
    landmark = rows["word_class"].eq(LANDMARK).to_numpy(dtype=bool)
    found = {name: np.full(len(rows), np.nan) for name in NAMES}
    own, other = (
        _finite(rows, rows[name].to_numpy(dtype=np.float64), path)
        for name in ("image_score", "image_score_swap")
    )
    found["word_swap"][false] = wins(own, other)[false]

    reached = metrics.hit(best_iou, 0.5, truth.protocol.iou_comparison)[place]
    asked = np.flatnonzero(reached & (false | ~landmark))
    meant = best_place[place[asked]]
    part = rows.iloc[asked]
    own, other = (
        _finite(part, np.array([row[at] for row, at in zip(part[name], meant, strict=True)]), path)
        for name in ("scores", "scores_swap")
    )
    found["word_swap_object"][asked] = wins(own, other)

    elsewhere = ~false & ~landmark
    boxes, others = _boxes(rows["box_xyxy"]), _boxes(rows["box_xyxy_swap"])
    found["swap_moves"][elsewhere] = moved(boxes, others, truth.protocol)[elsewhere]
    parts = []
    for name in NAMES:
        kept = ~np.isnan(found[name])
        part = rows.loc[kept, ["expression_id"]]
        of = truth.rows.iloc[place[kept]]
        part = part.assign(image_id=of["image_id"].to_numpy(), split=of["split"].to_numpy())
        parts.append(part.assign(name=name, value=found[name][kept], row=np.flatnonzero(kept)))
    return pd.concat(parts, ignore_index=True), rows[["word_class"]]


def _boxes(column: pd.Series) -> np.ndarray:
    """(S, 4) float64, nan where a box is null."""
    listed = [np.full(4, np.nan) if box is None else np.asarray(box) for box in column]
    return np.array(listed, dtype=np.float64).reshape(-1, 4)
