"""Why answers are wrong, in all and by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fake_study
from camground.report.results import ANATOMY, ANSWERS, answer
from camground.study import tables


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fake_study.make(tmp_path / "toy")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({"acc@0.5": 1.0, "recall@0.5": 1.0, "right_object": 1.0, "iou": 0.6}, "right"),
        ({"recall@0.5": 0.0, "right_object": 1.0, "iou": 0.4}, "proposal missing"),
        ({"recall@0.5": 1.0, "right_object": 0.0, "iou": 0.4}, "wrong object"),
        ({"recall@0.5": 1.0, "right_object": 1.0, "iou": 0.4}, "wrong extent"),
        ({"recall@0.5": 1.0, "iou": 0.02}, "wrong object"),
        ({"recall@0.5": 1.0, "iou": 0.3}, "wrong extent"),
    ],
)
def test_why_an_answer_is_wrong(outcomes: dict[str, float], expected: str) -> None:
    assert answer(outcomes) == expected


def test_shares_of_the_answers_sum_to_1_and_right_is_the_accuracy(root: Path) -> None:
    results = fake_study.results(root)
    shares = results.answer_shares("no_attention_mining")
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["right"] == pytest.approx(results.table.mean("no_attention_mining"))


def test_the_anatomy_divides_the_expressions_by_each_grouping(root: Path) -> None:
    results = fake_study.results(root)
    parts = results.anatomy()
    assert {part["key"] for part in parts} <= set(ANATOMY)
    whole = results.table.row("full")
    assert whole is not None
    for key in ("flavour", "size", "distractors"):
        of_key = [part for part in parts if part["key"] == key]
        assert len(of_key) > 1
        assert sum(part["n"] for part in of_key) == whole["n"]
        for kind, share in results.answer_shares("full").items():
            mean = sum(part["n"] * part[kind] for part in of_key) / whole["n"]
            assert mean == pytest.approx(share)
        for part in of_key:
            assert sum(part[kind] for kind in ANSWERS) == pytest.approx(1)
            value = part["value"].removesuffix("+") if key == "distractors" else part["value"]
            row = results.table.row("full", group=f"{key}={value}")
            assert row is not None
            assert (part["n"], part["right"]) == (row["n"], pytest.approx(row["mean"]))


def test_an_expression_is_in_the_anatomy_of_each_class_that_it_says(root: Path) -> None:
    results = fake_study.results(root)
    assert not [part for part in results.anatomy() if part["key"] == "word_class"]
    path = root / "data" / "expressions.parquet"
    texts = tables.read("expressions", path)
    first = texts["expression_id"].str.endswith("-0")
    texts["text"] = texts["text"].mask(first, "the small red block").mask(~first, "a red block")
    tables.write("expressions", texts, path)
    parts = {p["value"]: p for p in results.anatomy() if p["key"] == "word_class"}
    test = texts["split"] == "test"
    assert {name: part["n"] for name, part in parts.items()} == {
        "colour": test.sum(),
        "size": (test & first).sum(),
    }
    outcomes = [results.outcomes("full", seed) for seed in fake_study.SEEDS]
    right = [by_name[name]["acc@0.5"] for by_name in outcomes for name in texts.expression_id[test & first]]
    assert parts["size"]["right"] == pytest.approx(np.mean(right))


def test_a_curve_of_one_epoch_is_a_point() -> None:
    from matplotlib.figure import Figure

    from camground.report.charts import draw_curve

    axes = Figure().subplots()
    draw_curve(axes, np.array([1.0]), np.array([0.5]))
    draw_curve(axes, np.array([1.0, 2.0]), np.array([0.5, 0.4]))
    assert [line.get_marker() for line in axes.lines] == ["o", ""]
