"""Accuracy on val after each epoch of a training: what choosing the epoch by captions is compared with.

Nothing is chosen by it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from camground.evaluation import metrics
from camground.evaluation.config import EvaluateConfig
from camground.evaluation.ground_truth import GroundTruth, load
from camground.evaluation.outcomes import Run
from camground.study import tables


def learning_curve(truth: GroundTruth, run: Run, boxes: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table `learning_curve` from the tables `val_boxes` and `history` of a training.

    truth: of split val. An expression without a box is wrong; one without a target is left out, and so no
    epoch has a row where no expression has a target.
    """
    index = truth.ids.get_indexer(pd.Index(boxes["expression_id"]))
    boxes, targets = boxes[index >= 0], truth.targets.take(index[index >= 0])
    chosen = np.zeros((len(boxes), 4))  # of no area, so that it overlaps nothing
    answered = boxes["box_xyxy"].notna().to_numpy()
    chosen[answered] = boxes["box_xyxy"][answered].tolist() or np.zeros((0, 4))
    right = truth.hit(metrics.best_iou(chosen, targets), 0.5)
    by_epoch = boxes[["epoch", "step"]].assign(accuracy=right).groupby(["epoch", "step"])["accuracy"]
    curve = by_epoch.agg(accuracy="mean", n="size").reset_index()
    scores = history[history["name"] == "val/score"].set_index("step")["value"]
    curve["score"] = scores.reindex(curve["step"]).to_numpy()
    return curve.assign(variant=run.variant, seed=run.seed)


def write_learning_curve(
    config: EvaluateConfig,
    run: Run,
    images: Path,
    expressions: Path,
    targets: Path,
    proposals: Path,
    cams: Path | None,
    train_dir: Path,
    output: Path,
) -> None:
    """The table `learning_curve` of the training in `train_dir`, by the protocol `config`, on val."""
    on_val = config.model_copy(update={"splits": ("val",)})
    truth = load(on_val, images, expressions, targets, proposals, cams)
    found = (tables.read(name, train_dir / f"{name}.parquet") for name in ("val_boxes", "history"))
    tables.write("learning_curve", learning_curve(truth, run, *found), output)
