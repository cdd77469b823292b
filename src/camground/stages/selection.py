"""What choosing the epoch by boxes instead of captions would have gained: `python -m camground.selection`.

For a training that kept its epochs (`train.keep_epochs: true`): every epoch is predicted with and
evaluated, and the epoch that captions chose is compared with the one that the val split's boxes would have
chosen. The pipeline never chooses by boxes; this says, once, what that honesty costs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.schemas import SPLITS
from camground.training.grounder import EPOCHS

METRIC = "acc@0.5"
TABLES = ("images", "expressions", "proposals", "cams")


def gap(accuracy: pd.DataFrame, chosen: int, split: str = "test") -> dict[str, Any]:
    """What both choices give on `split`; accuracy: a row an epoch (the index) with columns val and it.

    `chosen`: the epoch that captions chose. Of epochs that are equal on val the first counts as the one
    that boxes choose.
    """
    by_boxes = int(accuracy.index[int(accuracy["val"].to_numpy().argmax())])
    test = accuracy[split].to_dict()
    return {
        "by_captions": {"epoch": chosen, split: float(test[chosen])},
        "by_boxes": {"epoch": by_boxes, split: float(test[by_boxes])},
        "gap": float(test[by_boxes] - test[chosen]),
    }


def _run(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"camground.{module}", *arguments], check=False)
    if done.returncode:
        raise UserError(f"camground.{module} failed; see its message above")


def main() -> None:
    parser = stage.parser("selection", __doc__)
    for name in (*TABLES, "targets", "features", "train-dir"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    parser.add_argument(
        "--split",
        choices=SPLITS[2:],
        default="test",
        help="evaluated split that the choice is told on",
    )
    given = parser.parse_args()
    config = stage.read_config(given.config)
    epochs = sorted((given.train_dir / EPOCHS).glob("*/checkpoint.safetensors"))
    if not epochs:
        raise UserError(
            f"{given.train_dir}: no kept epochs; train with --config 'train={{keep_epochs: true}}'"
        )
    try:
        chosen = int(json.loads((given.train_dir / "summary.json").read_text())["best_epoch"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{given.train_dir}/summary.json: {error}; rerun its training") from None
    shared = [part for name in TABLES for part in (f"--{name}", str(getattr(given, name)))]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        made = {name: f"{folder}/{name}.parquet" for name in ("predictions", "swaps", "metrics")}
        for checkpoint in epochs:
            epoch = int(checkpoint.parent.name)
            _run(
                "predict", *shared, "--config", json.dumps({"predict": config["predict"]}),
                "--features", str(given.features), "--checkpoint", str(checkpoint.parent),
                "--output", made["predictions"], "--swaps", made["swaps"],
            )  # fmt: skip
            task = {"dataset": "selection", "variant": "epoch", "seed": 0}
            _run(
                "evaluate", *shared, "--config", json.dumps({**task, "evaluate": config["evaluate"]}),
                "--targets", str(given.targets), "--predictions", made["predictions"],
                "--metrics", made["metrics"], "--outcomes", f"{folder}/outcomes.parquet",
            )  # fmt: skip
            metrics = tables.read("metrics", made["metrics"])
            kept = metrics[(metrics["metric"] == METRIC) & (metrics["group"] == "all")]
            rows[epoch] = dict(zip(kept["split"], kept["value"], strict=True))
    accuracy = pd.DataFrame.from_dict(rows, orient="index")
    if not {"val", given.split} <= set(accuracy.columns):
        raise UserError(
            f"selection needs boxes on val and on {given.split}, and both in evaluate.splits"
        )
    found = {**gap(accuracy, chosen, given.split), "epochs": accuracy.to_dict("index")}
    with tables.atomic(given.output) as temporary:
        temporary.write_text(json.dumps(found, indent=1))
    log.info("by captions %s, by boxes %s", found["by_captions"], found["by_boxes"])


if __name__ == "__main__":
    stage.run("selection", main)
