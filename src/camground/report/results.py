"""The files of a study's folder as the report shows them. Reads and counts, writes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from camground.evaluation.config import EvaluateConfig
from camground.evaluation.ground_truth import load
from camground.evaluation.metric_table import OF_SWAPS, PRIMARY
from camground.matcher.maps import cams_file
from camground.report.ablation_table import AblationTable, in_order
from camground.study import tables
from camground.study.errors import UserError
from camground.study.schemas import present

# Why an answer is wrong, in the order in which the causes are tried.
CAUSES = ("proposal missing", "wrong object", "wrong extent")
# Every answer is one of these.
ANSWERS = ("right", *CAUSES[::-1])
# Groupings whose groups' answers are shown apart.
ANATOMY = ("flavour", "size", "distractors", "word_class")
# Where the image's objects are not known, a box below this IoU is of something else.
SAME_OBJECT_IOU = 0.1


def answer(outcomes: Mapping[str, float]) -> str:
    """Which of `ANSWERS` one expression's answer is, from its outcomes by name.

    `proposal missing`: none reaches IoU 0.5 with the true box. `wrong object`: the box overlaps
    another object more, or, where objects are not known, hardly the true box. Else `wrong extent`.
    """
    if outcomes.get(PRIMARY, 0.0) == 1:
        return "right"
    if outcomes.get("recall@0.5", 1.0) == 0:
        return "proposal missing"
    right_object = outcomes.get("right_object")
    if right_object is None:
        right_object = float(outcomes.get("iou", 0.0) >= SAME_OBJECT_IOU)
    return "wrong extent" if right_object else "wrong object"


@dataclass(frozen=True)
class Results:
    """A study's folder R/D, its ablation table and the evaluation's protocol."""

    root: Path
    table: AblationTable
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def measured(self) -> bool:
        """Whether the reference has a number on the report's split: no, where no phrase there has a box."""
        return self.table.row(self.table.reference) is not None

    @property
    def cams_file(self) -> Path | None:
        """The matcher's CAMs of the first seed; None of a study without."""
        path = cams_file(self.root / "gradcam", self.table.seeds[0])
        return path if path.exists() else None

    @property
    def proposals_file(self) -> Path:
        return self.root / self.evaluate.proposals_file

    def run_folder(self, method: str, seed: int | None = None) -> Path:
        """The folder of a method's run, by default that of the first seed."""
        return self.root / method / f"seed{self.table.seeds[0] if seed is None else seed}"

    def seeds_of(self, method: str) -> list[int]:
        """The seeds that a method has results of (a baseline that no seed changes has one)."""
        seeds = self.table.seeds
        return [s for s in seeds if (self.run_folder(method, s) / "metrics.parquet").exists()]

    def seed_values(self, method: str) -> list[float]:
        """The primary metric of each seed, over all expressions of the report's split."""
        wanted = {"metric": PRIMARY, "split": self.table.split, "group": "all"}
        files = [self.run_folder(method, seed) / "metrics.parquet" for seed in self.seeds_of(method)]
        rows = [row for file in files for row in tables.read_arrow("metrics", file).to_pylist()]
        return [row["value"] for row in rows if row.items() >= wanted.items()]

    def history(self, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Curves of a training folder by name: epochs and values, (steps,) float64, in order of step."""
        rows = tables.read("history", folder / "history.parquet").sort_values("step", kind="stable")
        return {
            str(name): (part["epoch"].to_numpy(), part["value"].to_numpy())
            for name, part in rows.groupby("name", sort=False)
        }

    def histories(self, variant: str) -> dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """`history` of each seed's training."""
        return {seed: self.history(self.run_folder(variant, seed) / "train") for seed in self.table.seeds}

    def summary(self, variant: str, seed: int) -> dict[str, Any]:
        """What a training says of itself: best_epoch, epochs, steps, limit_reached and more."""
        file = self.run_folder(variant, seed) / "train" / "summary.json"
        try:
            found: dict[str, Any] = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: {error}; rerun its training") from None
        return found

    def learning_curves(self, variant: str) -> dict[int, pd.DataFrame]:
        """The table `learning_curve` of each seed's training, by epoch."""
        seeds = self.table.seeds
        files = {seed: self.run_folder(variant, seed) / "learning_curve.parquet" for seed in seeds}
        return {seed: tables.read("learning_curve", file) for seed, file in files.items()}

    def outcomes(self, method: str, seed: int) -> dict[str, dict[str, float]]:
        """Outcomes by name of each expression of the report's split; those of word swaps left out."""
        path = self.run_folder(method, seed) / "outcomes.parquet"
        columns = ["expression_id", "name", "value"]
        table = tables.read_arrow("outcomes", path, [*columns, "split"])
        table = table.filter(pc.equal(table["split"], self.table.split))
        swaps = pa.array([metric.name for metric in OF_SWAPS])
        table = table.filter(pc.invert(pc.is_in(table["name"], swaps)))
        outcomes: dict[str, dict[str, float]] = {}
        for expression, name, value in zip(*(table[c].to_pylist() for c in columns), strict=True):
            outcomes.setdefault(expression, {})[name] = value
        return outcomes

    def answers(self, method: str) -> list[dict[str, str]]:
        """Of each seed: which of `ANSWERS` every expression's answer is."""
        return [
            {name: answer(values) for name, values in self.outcomes(method, seed).items()}
            for seed in self.seeds_of(method)
        ]

    def answer_shares(self, method: str) -> dict[str, float]:
        """Shares of `ANSWERS`, over all seeds; they sum to 1."""
        counts = Counter(kind for by_seed in self.answers(method) for kind in by_seed.values())
        return {kind: counts[kind] / max(counts.total(), 1) for kind in ANSWERS}

    def anatomy(self) -> list[dict[str, Any]]:
        """Of each group of expressions: key, value, n, and the shares of the reference's `ANSWERS`, means
        over seeds.

        In the order of `ANATOMY`, each key's groups in a reader's order. A key with one group is left out,
        but not `word_class`, since an expression may be in none of its groups.
        """
        folder = self.root / "data"
        images, expressions, targets = (
            folder / f"{name}.parquet" for name in ("images", "expressions", "targets")
        )
        protocol = self.evaluate.model_copy(update={"splits": (self.table.split,)})
        truth = load(protocol, images, expressions, targets, self.proposals_file, self.cams_file)
        by_seed = self.answers(self.table.reference)
        answers = np.array([[by_id[name] for name in truth.ids] for by_id in by_seed], dtype=object)
        parts = []
        for key in ANATOMY:
            label = truth.groups[key].explode().dropna()
            values = in_order(set(label))
            for value in values if len(values) > 1 or key == "word_class" else ():
                group = answers[:, label.index[label == value]]
                shares = {kind: float(np.mean(group == kind)) for kind in ANSWERS}
                parts.append({"key": key, "value": value, "n": group.shape[1], **shares})
        return parts

    def split_counts(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of a table: numbers of images, phrases, sentences and swaps of each split."""
        data = self.root / "data"
        images = Counter(tables.read("images", data / "images.parquet", ["split"])["split"])
        texts = tables.read("expressions", data / "expressions.parquet", ["split", "kind"])
        counts = Counter(zip(texts["split"], texts["kind"], strict=True))
        kinds = [kind for kind in ("phrase", "sentence", "swap") if kind in set(texts["kind"])]
        rows = [
            [split, f"{images[split]:,}", *(f"{counts[split, kind]:,}" for kind in kinds)]
            for split in present(texts["split"])
        ]
        return ["Split", "Images", *(f"{kind.capitalize()}s" for kind in kinds)], rows

    def coverage(self, method: str) -> tuple[int, int]:
        """How many expressions that are evaluated a method answers, and how many there are."""
        folder = self.run_folder(method)
        answered = tables.read("predictions", folder / "predictions.parquet", ["expression_id"])[
            "expression_id"
        ]
        outcomes = tables.read("outcomes", folder / "outcomes.parquet", ["expression_id"])["expression_id"]
        asked = outcomes.drop_duplicates()
        return int(asked.isin(answered).sum()), len(asked)

    def boxes_of(self, split: str) -> int:
        """How many expressions of the split have a box."""
        data = self.root / "data"
        texts = tables.read("expressions", data / "expressions.parquet", ["expression_id", "split"])
        targets = tables.read("targets", data / "targets.parquet", ["expression_id"])
        return int(texts.loc[texts["split"] == split, "expression_id"].isin(targets["expression_id"]).sum())

    def proposals(self) -> tuple[float, str]:
        """Mean number of proposals of an image that has any, and what found them, such as
        `detector:facebook/detr-resnet-50`."""
        table = tables.read_arrow("proposals", self.proposals_file, ["image_id", "source"])
        images = int(pc.count_distinct(table["image_id"]).as_py())
        return len(table) / max(images, 1), ", ".join(sorted(pc.unique(table["source"]).to_pylist()))

    def labels(self) -> int:
        """How many different labels the proposals have that the trainings see."""
        file = self.root / EvaluateConfig().proposals_file
        return int(pc.count_distinct(tables.read_arrow("proposals", file, ["label"])["label"]).as_py())

    def resolved_config(self, variant: str | None = None) -> dict[str, Any]:
        """The resolved config of a variant's first training, by default the reference's."""
        path = self.run_folder(variant or self.table.reference) / "train" / "config.yaml"
        try:
            return dict(yaml.safe_load(path.read_text()))
        except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
