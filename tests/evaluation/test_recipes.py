"""What CONTRIBUTING.md says of a new metric and a new baseline: one function and one entry each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import evaluation_study as study
from camground.evaluation import metric_table, outcomes
from camground.evaluation.baselines import BASELINES, Baseline, Choice, Context
from camground.evaluation.metric_table import GROUPINGS, METRICS, OF_EXPRESSIONS, Metric
from camground.study import tables


def top_left(context: Context) -> Choice:
    """The top left quarter of every image."""
    count = len(context.truth)
    boxes = np.tile(context.truth.image_sizes, 2) * [0.0, 0.0, 0.5, 0.5]
    return Choice(boxes, np.ones(count), np.full(count, -1), np.ones(count, dtype=bool))


def test_a_metric_and_a_baseline_are_an_entry_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_the_top(measured: outcomes.Measured) -> np.ndarray:
        return (measured.boxes_xyxy[:, 1] == 0).astype(float)

    top = Metric("top", "Box at the top", "boxes", at_the_top)
    for module in (metric_table, outcomes):
        monkeypatch.setattr(module, "OF_EXPRESSIONS", (*OF_EXPRESSIONS, top))
    monkeypatch.setitem(METRICS, "top", top)
    monkeypatch.setitem(BASELINES, "top_left", Baseline(top_left))

    paths = study.make(tmp_path / "data")
    study.run_baselines(paths, tmp_path)
    task = {"dataset": "toy", "seeds": [0, 1], "variants": [], "baselines": list(BASELINES)}
    task["ablation"] = {"reference": "random", "resamples": 100}
    names = ("output", "csv", "markdown", "latex")
    study.run("ablation", task, root=tmp_path, **{name: tmp_path / name for name in names})
    table = tables.read("ablation", tmp_path / "output")
    row = table[(table["metric"] == "top") & (table["group"] == "all")].set_index("variant")
    assert (row.loc["top_left", "mean"] == 1.0).all()
    assert (row.loc["centre", "mean"] == 0.0).all()
    assert row.loc["top_left", "p"].notna().all()


def test_every_grouping_is_a_column_and_has_a_heading(tmp_path: Path) -> None:
    assert set(study.ground_truth(study.make(tmp_path)).groups.columns) == set(GROUPINGS)


def test_names_and_headings_are_told_apart() -> None:
    assert len(METRICS) == len({metric.heading for metric in METRICS.values()})
    assert metric_table.PRIMARY in metric_table.MAIN
