"""Why the reference's answers are wrong, by group of the expressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camground.evaluation.config import EvaluateConfig
from camground.evaluation.ground_truth import load
from camground.report.ablation_table import in_order
from camground.report.results import ANSWERS, Results

KEYS = ("flavour", "size", "distractors", "word_class")


@dataclass(frozen=True)
class Part:
    """A group of n expressions: the share of each of `ANSWERS`, the mean over seeds; they sum to 1."""

    key: str
    value: str
    n: int
    shares: dict[str, float]


def anatomy(results: Results, evaluate: EvaluateConfig) -> list[Part]:
    """The groups in the order of `KEYS`, each key's in a reader's order. A key with one group is left out,
    but not `word_class`, since an expression may be in none of its groups."""
    data = results.root / "data"
    truth = load(
        evaluate.model_copy(update={"splits": (results.table.split,)}),
        data / "images.parquet",
        data / "expressions.parquet",
        data / "targets.parquet",
        results.root / "proposals" / "proposals.parquet",
        results.root / "gradcam" / "cams.parquet",
    )
    by_seed = results.answers(results.table.reference)
    answers = np.array([[by_id[name] for name in truth.ids] for by_id in by_seed], dtype=object)
    parts = []
    for key in KEYS:
        label = truth.groups[key].explode().dropna()
        values = in_order(set(label))
        if len(values) < (1 if key == "word_class" else 2):
            continue
        for value in values:
            group = answers[:, label.index[label == value]]
            shares = {kind: float(np.mean(group == kind)) for kind in ANSWERS}
            parts.append(Part(key, value, group.shape[1], shares))
    return parts
