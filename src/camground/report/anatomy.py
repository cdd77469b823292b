"""Why the reference's answers are wrong, by group: flavour, size, distractors, and the classes of words
said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camground.evaluation.config import EvaluateConfig
from camground.evaluation.ground_truth import load
from camground.report.results import CAUSES, Results, failure_cause, in_order

KEYS = ("flavour", "size", "distractors", "said")
SHOWN = ("right", *CAUSES[::-1])


@dataclass(frozen=True)
class Part:
    """A group of n expressions: the share of each of `SHOWN`, the mean over seeds; they sum to 1."""

    key: str
    value: str
    n: int
    shares: dict[str, float]


def anatomy(results: Results) -> list[Part]:
    """The groups in the order of `KEYS`, a reader's order within each; a key of one group is left out,
    unless an expression can be in several."""
    data, split = results.root / "data", results.options["split"]
    evaluate = EvaluateConfig.parse(results.config["evaluate"], "evaluate")
    truth = load(
        evaluate.model_copy(update={"splits": (split,)}),
        data / "images.parquet",
        data / "expressions.parquet",
        data / "targets.parquet",
        results.root / "proposals" / "proposals.parquet",
        results.root / "gradcam" / "cams.parquet",
    )
    seeds = results.seeds_of(results.reference)
    causes = np.array([_causes(results, seed, list(truth.ids)) for seed in seeds], dtype=object)
    parts = []
    for key in KEYS:
        label = truth.groups[key].explode().dropna()
        values = in_order(set(label))
        if len(values) < (1 if key == "said" else 2):
            continue
        for value in values:
            found = causes[:, label.index[label == value]]
            shares = {name: float(np.mean(found == name)) for name in SHOWN}
            parts.append(Part(key, value, found.shape[1], shares))
    return parts


def _causes(results: Results, seed: int, ids: list[str]) -> list[str]:
    """`right` or the cause of failure of each expression."""
    outcomes = results.outcomes(results.reference, seed)
    return [
        "right" if outcomes[name].get("acc@0.5", 0.0) == 1 else failure_cause(outcomes[name])
        for name in ids
    ]
