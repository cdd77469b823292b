"""What choosing the epoch by boxes instead of captions would have gained.

The pipeline never chooses by boxes; this measures what that costs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from camground.evaluation.ground_truth import GroundTruth
from camground.evaluation.metric_table import PRIMARY
from camground.evaluation.outcomes import Run, evaluate
from camground.study import tables
from camground.study.errors import UserError
from camground.training.loop import EPOCHS


def compare_choices(
    train_dir: Path, truth: GroundTruth, split: str, predict: Callable[[Path, Path, Path], None]
) -> dict[str, Any]:
    """`gap` of a training that kept its epochs, and the accuracy of each.

    predict(checkpoint, predictions, swaps) writes both tables with the checkpoint of that folder. Raises
    `UserError` where the training kept no epoch, or `truth` has no boxes of val or of `split`.
    """
    epochs = sorted(path.parent for path in (train_dir / EPOCHS).glob("*/checkpoint.safetensors"))
    if not epochs:
        raise UserError(f"{train_dir}: no kept epochs; train with --config 'train={{keep_epochs: true}}'")
    if not {"val", split} <= set(truth.expressions["split"]):
        raise UserError(f"selection needs boxes on val and on {split}, and both in evaluate.splits")
    try:
        chosen = int(json.loads((train_dir / "summary.json").read_text())["best_epoch"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{train_dir}/summary.json: {error}; rerun its training") from None
    by_epoch = {}
    with tempfile.TemporaryDirectory() as folder:
        predictions = Path(folder) / "predictions.parquet"
        for checkpoint in epochs:
            predict(checkpoint, predictions, Path(folder) / "swaps.parquet")
            rows = tables.read("predictions", predictions)
            _, means = evaluate(truth, rows, predictions, Run("selection", checkpoint.name, 0))
            means = means[(means["metric"] == PRIMARY) & (means["group"] == "all")]
            by_epoch[int(checkpoint.name)] = means.set_index("split")["value"]
    accuracy = pd.DataFrame(by_epoch).T
    return {**gap(accuracy, chosen, split), "epochs": accuracy.to_dict("index")}


def gap(accuracy: pd.DataFrame, chosen: int, split: str) -> dict[str, Any]:
    """What both choices give on `split`; accuracy: one row per epoch (the index), columns val and `split`.

    `chosen`: the epoch that captions chose. Of epochs that are equal on val the first counts as the one
    that boxes choose.
    """
    by_boxes = int(accuracy.index[int(accuracy["val"].to_numpy().argmax())])
    of_epoch = accuracy[split].to_dict()
    return {
        "by_captions": {"epoch": chosen, split: float(of_epoch[chosen])},
        "by_boxes": {"epoch": by_boxes, split: float(of_epoch[by_boxes])},
        "gap": float(of_epoch[by_boxes] - of_epoch[chosen]),
    }
