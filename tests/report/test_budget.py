"""How long each row trained, and accuracy against steps."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import fake_study
from camground.report import charts
from camground.report.ablation_table import ABSENT
from camground.report.budget import budget, chosen
from camground.report.results import Results
from camground.report.theme import PAPER, colours, style
from camground.study import tables
from camground.study.errors import UserError


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return fake_study.results(fake_study.make(tmp_path / "toy"))


def without_targets(results: Results) -> None:
    for variant in fake_study.VARIANTS:
        for seed in fake_study.SEEDS:
            tables.write("learning_curve", [], results.run_folder(variant, seed) / "learning_curve.parquet")


def test_each_row_has_its_epochs_and_what_choosing_by_captions_cost(results: Results) -> None:
    table = budget(results)
    assert [line.name for line in table.lines] == fake_study.VARIANTS
    shown = dict(zip((name for name, _ in table.columns), map(str, table.lines[0].cells), strict=True))
    assert shown == {
        "Epochs": "7.5",  # 8 and 7
        "Steps": "150",
        "Limit reached": "1 of 2",
        "Chosen epoch": "6.0",
        "Acc@0.5 there": "54.5",  # 55 and 54
        "Best epoch's": "59.5",
        "Below": "5.0",
    }


def test_where_no_expression_of_val_has_a_target_the_steps_are_still_told(results: Results) -> None:
    without_targets(results)
    cells = [str(cell) for cell in budget(results).lines[0].cells]
    assert cells == ["7.5", "150", "1 of 2", "6.0", ABSENT, ABSENT, ABSENT]
    assert charts.learning_curves(results) is None


def test_of_epochs_with_the_same_score_the_first_is_chosen(results: Results) -> None:
    """As the training chooses."""
    curve = results.learning_curves("full")[0].assign(score=[1.0, 2.0, 2.0, 0.0, 1.0, 2.0, 1.0, 0.0])
    assert chosen(curve) == 1


def test_a_training_without_a_summary_is_named(results: Results) -> None:
    (results.run_folder("baseline", 1) / "train" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"baseline/seed1/train/summary\.json: .*; rerun its training"):
        budget(results)


def test_the_curves_show_seeds_their_mean_and_the_chosen_epochs(results: Results) -> None:
    with style(PAPER):
        figure = charts.learning_curves(results)
    assert figure is not None
    (axes,) = figure.axes
    colour = colours(results.table)["full"]
    lines = [line for line in axes.lines if line.get_color() == colour]
    seeds = [line for line in lines if len(line.get_xdata()) > 1 and line.get_label() != "full"]
    assert [line.get_xdata().tolist() for line in seeds] == [
        [20 * epoch for epoch in range(1, last + 1)] for last in (8, 7)
    ]
    (mean,) = [line for line in lines if line.get_label() == "full"]
    assert len(mean.get_xdata()) == 7  # up to the end of the shorter
    both = [line.get_ydata()[:7] for line in seeds]
    np.testing.assert_allclose(mean.get_ydata(), np.mean(both, axis=0))
    dots = [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines if len(line.get_xdata()) == 1]
    assert dots == [(120, pytest.approx(55)), (120, pytest.approx(54))]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == fake_study.VARIANTS
    plt.close(figure)


def test_training_curves_of_different_lengths_have_a_mean(results: Results) -> None:
    """Seeds end when their patience does."""
    path = results.run_folder("full", 1) / "train" / "history.parquet"
    history = tables.read("history", path)
    tables.write("history", history[history["epoch"] < 8], path)
    with style(PAPER):
        figure = charts.curves(results)
    assert "full" in [text.get_text() for text in figure.legends[0].get_texts()]
    plt.close(figure)
