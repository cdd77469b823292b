"""The files of a study below R/D as what the report shows. Reads, computes counts, writes
nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from camground.evaluation.metric_table import OF_SWAPS
from camground.study import tables
from camground.study.errors import UserError
from camground.study.schemas import present

# Why an answer is wrong, in the order in which the causes are tried.
CAUSES = ("proposal missing", "wrong object", "wrong extent")
# Below this IoU a box is of something else, where the image's objects are not known.
SAME_PLACE_IOU = 0.1


def failure_cause(outcomes: Mapping[str, float]) -> str:
    """Why one expression's answer is wrong (or would be), from its outcomes by name.

    `proposal missing`: none reaches IoU 0.5 with the true box. `wrong object`: the box overlaps
    another object more, or, where objects are not known, hardly the true box. Else `wrong extent`.
    """
    if outcomes.get("recall@0.5", 1.0) == 0:
        return "proposal missing"
    right = outcomes.get("right_object")
    if right is None:
        right = float(outcomes.get("iou", 0.0) >= SAME_PLACE_IOU)
    return "wrong extent" if right else "wrong object"


def in_order(values: Iterable[str]) -> list[str]:
    """Values of a grouping in a reader's order: small before large, 2 before 10."""
    named = {"small": 0, "medium": 1, "large": 2}

    def place(name: str) -> tuple[float, str]:
        digits = "".join(c if c.isdigit() else " " for c in name).split()
        return (named.get(name, float(digits[0]) if digits else 0.0), name)

    return sorted(values, key=place)


@dataclass(frozen=True)
class Results:
    """A study's results; `config` has dataset, seeds, variants, baselines, report."""

    root: Path
    config: Mapping[str, Any]

    @property
    def options(self) -> Mapping[str, Any]:
        """Config section `report`."""
        options: Mapping[str, Any] = self.config["report"]
        return options

    @property
    def variants(self) -> list[str]:
        """Names of the trained variants, in the config's order."""
        return list(self.config["variants"])

    @property
    def baselines(self) -> list[str]:
        """Names of the baselines, in the config's order."""
        return list(self.config["baselines"])

    @cached_property
    def _ablation(self) -> list[dict[str, Any]]:
        """Rows of the ablation table."""
        return tables.read_arrow("ablation", self.root / "ablation.parquet").to_pylist()

    @cached_property
    def ablation(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Rows of the ablation table on the report's split, by (variant, metric, group)."""
        return {
            (row["variant"], row["metric"], row["group"]): row
            for row in self._ablation
            if row["split"] == self.options["split"]
        }

    @cached_property
    def over_all(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Its rows over all expressions of every split, by (variant, metric, split)."""
        return {
            (row["variant"], row["metric"], row["split"]): row
            for row in self._ablation
            if row["group"] == "all"
        }

    def mean(self, variant: str, metric: str, group: str = "all") -> float | None:
        """A mean over seeds, None where the table has no such row."""
        row = self.ablation.get((variant, metric, group))
        return None if row is None else float(row["mean"])

    @cached_property
    def reference(self) -> str:
        """The variant that differences are taken from: the one without a difference."""
        metric = self.options["metric"]
        for variant in self.variants:
            row = self.ablation.get((variant, metric, "all"))
            if row is not None and row["difference"] is None:
                return variant
        raise UserError(
            f"{self.root / 'ablation.parquet'}: no reference variant for metric {metric!r} on split"
            f" {self.options['split']!r}; check config keys report.metric and report.split"
        )

    def seeds_of(self, method: str) -> list[int]:
        """The seeds that a method has results of (a baseline without chance has one)."""
        return [
            seed
            for seed in self.config["seeds"]
            if (self.root / method / f"seed{seed}" / "metrics.parquet").exists()
        ]

    def seed_values(self, method: str, metric: str) -> list[float]:
        """A metric of each seed, over all expressions of the report's split."""
        found = []
        for seed in self.seeds_of(method):
            path = self.root / method / f"seed{seed}" / "metrics.parquet"
            found += [
                row["value"]
                for row in tables.read_arrow("metrics", path).to_pylist()
                if (row["metric"], row["split"], row["group"])
                == (metric, self.options["split"], "all")
            ]
        return found

    def groups(self, key: str) -> list[str]:
        """Values of a grouping that occur, in a reader's order (small before large, 2 before
        10)."""
        found = [group.partition("=") for _, _, group in self.ablation]
        return in_order({value for name, _, value in found if name == key})

    def history(self, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Curves of a training folder by name: epochs and values, float64, in order of step."""
        rows = tables.read("history", folder / "history.parquet").sort_values("step", kind="stable")
        return {
            str(name): (part["epoch"].to_numpy(), part["value"].to_numpy())
            for name, part in rows.groupby("name", sort=False)
        }

    def outcomes(self, method: str, seed: int) -> dict[str, dict[str, float]]:
        """Outcomes by name of each expression of the report's split; those of word swaps left out."""
        path = self.root / method / f"seed{seed}" / "outcomes.parquet"
        columns = ["expression_id", "name", "value", "split"]
        table = tables.read_arrow("outcomes", path, columns)
        table = table.filter(pc.equal(table["split"], self.options["split"]))
        table = table.filter(
            pc.invert(pc.is_in(table["name"], pa.array([metric.name for metric in OF_SWAPS])))
        )
        found: dict[str, dict[str, float]] = {}
        ids, names, values = (table[name].to_pylist() for name in columns[:3])
        for expression, name, value in zip(ids, names, values, strict=True):
            found.setdefault(expression, {})[name] = value
        return found

    def cause_shares(self, method: str) -> dict[str, float]:
        """Shares of `right` and of each cause of failure, over all seeds; they sum to 1."""
        counts: Counter[str] = Counter()
        for seed in self.seeds_of(method):
            for values in self.outcomes(method, seed).values():
                right = values.get("acc@0.5", 0.0) == 1
                counts["right" if right else failure_cause(values)] += 1
        total = max(sum(counts.values()), 1)
        return {name: counts[name] / total for name in ("right", *CAUSES[::-1])}

    def split_counts(self) -> list[dict[str, Any]]:
        """Images, sentences and phrases of each split."""
        data = self.root / "data"
        images = Counter(
            tables.read_arrow("images", data / "images.parquet", ["split"])["split"].to_pylist()
        )
        texts = tables.read_arrow("expressions", data / "expressions.parquet", ["split", "kind"])
        kinds = Counter(zip(texts["split"].to_pylist(), texts["kind"].to_pylist(), strict=True))
        return [
            {
                "split": split,
                "images": images[split],
                "phrases": kinds[split, "phrase"],
                "sentences": kinds[split, "sentence"],
            }
            for split in present(texts["split"].to_pylist())
        ]

    def proposals_per_image(self) -> float:
        """Mean number of proposals of an image that has any."""
        path = self.root / "proposals" / "proposals.parquet"
        column = tables.read_arrow("proposals", path, ["image_id"])["image_id"]
        return len(column) / max(pc.count_distinct(column).as_py(), 1)

    def proposal_sources(self) -> list[str]:
        """What found the proposals, such as `detector:facebook/detr-resnet-50`."""
        path = self.root / "proposals" / "proposals.parquet"
        column = tables.read_arrow("proposals", path, ["source"])["source"]
        return sorted(pc.unique(column).to_pylist())

    def rejected(self) -> list[dict[str, Any]]:
        """Input rows that were refused."""
        return tables.read_arrow("rejected", self.root / "data" / "rejected.parquet").to_pylist()

    def summary(self, folder: Path) -> dict[str, Any]:
        """summary.json of a training folder."""
        try:
            value = json.loads((folder / "summary.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"{folder / 'summary.json'}: cannot be read ({error})") from None
        return dict(value)

    def resolved_config(self) -> dict[str, Any]:
        """The study's resolved config if it was passed, else the reference checkpoint's."""
        if self.config.get("resolved"):
            return dict(self.config["resolved"])
        seed = self.config["seeds"][0]
        path = self.root / self.reference / f"seed{seed}" / "train" / "config.yaml"
        try:
            return dict(yaml.safe_load(path.read_text()))
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
