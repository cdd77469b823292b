"""Word swaps: what is counted, on numbers made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evaluation_study as study
from camground.evaluation import ablation
from camground.evaluation.config import AblationConfig
from camground.evaluation.ground_truth import GroundTruth
from camground.evaluation.metric_table import OF_SWAPS
from camground.evaluation.outcomes import Run, evaluate, evaluate_swaps
from camground.evaluation.word_swaps import MeasuredSwaps, wins
from camground.study import tables
from camground.study.errors import UserError

EXPECTED = {
    ("word_swap", "all"): (2.5 / 4, 4),
    ("word_swap", "word_class=colour"): (0.75, 2),
    ("word_swap", "word_class=landmark"): (0.0, 1),
    ("word_swap", "word_class=size"): (1.0, 1),
    ("word_swap_object", "all"): (3.5 / 5, 5),
    ("word_swap_object", "word_class=colour"): (0.5, 2),
    ("word_swap_object", "word_class=landmark"): (1.0, 1),
    ("word_swap_object", "word_class=relation"): (0.5, 1),
    ("word_swap_object", "word_class=location"): (1.0, 1),
    ("swap_moves", "all"): (0.5, 2),
    ("swap_moves", "word_class=relation"): (0.0, 1),
    ("swap_moves", "word_class=location"): (1.0, 1),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return study.make_with_swaps(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def truth(paths: dict[str, Path]) -> GroundTruth:
    return study.ground_truth(paths)


def counted(
    truth: GroundTruth, rows: pd.DataFrame, variant: str = "full"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    return evaluate_swaps(truth, rows, Path("swap_scores.parquet"), Run("toy", variant, 0))


def test_ties_count_half_and_boxes_move_below_half_overlap(truth: GroundTruth) -> None:
    assert wins(np.array([2.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0])).tolist() == [1.0, 0.5, 0.0]
    others = [[0.0, 0, 10, 5], [0, 0, 10, 4.9], None, [0, 0, 10, 4.9]]
    rows = pd.DataFrame(
        {
            "box_xyxy": [[0.0, 0, 10, 10]] * 4,
            "box_xyxy_swap": others,
            "false_of_image": [False, False, False, True],
            "word_class": "colour",
        }
    )
    moves = MeasuredSwaps(truth, rows, np.arange(4), Path()).box_moves
    np.testing.assert_array_equal(moves, [0.0, 1.0, np.nan, np.nan])


def test_means_by_class_of_numbers_made_by_hand(
    paths: dict[str, Path], truth: GroundTruth, tmp_path: Path
) -> None:
    outcomes, means = counted(truth, study.swap_scores(paths, tmp_path))
    test = means[means["split"] == "test"].set_index(["metric", "group"])
    found = {key: (row["value"], row["n"]) for key, row in test.iterrows()}
    assert found == EXPECTED
    val = means[means["split"] == "val"]
    assert set(val["metric"]) == {"word_swap", "word_swap_object"}
    assert (val["value"] == 0).all()
    assert set(means["split"]) == {"val", "test"}
    # each counted swap once a metric, under its own id and its expression's image
    mine = outcomes[outcomes["expression_id"] == "s0"].set_index("name")
    assert mine["value"].to_dict() == {"word_swap": 1.0, "word_swap_object": 0.0}
    assert set(mine["image_id"]) == {"i1"}
    assert not outcomes.duplicated(["expression_id", "name"]).any()
    tables.write("outcomes", outcomes, tmp_path / "o.parquet")
    tables.write("metrics", means, tmp_path / "m.parquet")


def test_an_object_that_no_proposal_reaches_is_not_asked_about(
    paths: dict[str, Path], truth: GroundTruth, tmp_path: Path
) -> None:
    """Without the first proposals of image 1 nothing is left of 2.5 of its 4 swaps."""
    lost, (iou, best) = replace(truth), truth.best_proposal
    iou = np.where(truth.expressions["image_id"] == "i1", 0.49, iou)
    vars(lost)["best_proposal"] = iou, best
    _, means = counted(lost, study.swap_scores(paths, tmp_path))
    found = means[(means["split"] == "test") & (means["metric"] == "word_swap_object")]
    assert set(found["group"]) == {"all", "word_class=landmark"}
    assert (found["n"] == 1).all()


def test_no_swap_is_evaluated(paths: dict[str, Path], truth: GroundTruth, tmp_path: Path) -> None:
    rows = study.swap_scores(paths, tmp_path)
    for left in (rows.iloc[:0], rows[rows["split"] == "train"]):
        outcomes, means = counted(truth, left)
        assert len(outcomes) == len(means) == 0


def test_bad_rows_are_named(paths: dict[str, Path], truth: GroundTruth, tmp_path: Path) -> None:
    rows = study.swap_scores(paths, tmp_path).set_index("expression_id", drop=False)
    mistakes = {
        "not in the study's": rows.replace({"expression_id": {"s0": "elsewhere"}}),
        "comes twice": pd.concat([rows, rows.loc[["s0"]]]),
        "s0 has scores of other": rows.assign(scores_swap=[s[:-1] for s in rows["scores_swap"]]).loc[["s0"]],
        "swap s0 is not finite": rows.assign(image_score=np.inf).loc[["s0"]],
    }
    for said, changed in mistakes.items():
        with pytest.raises(UserError, match=said):
            counted(truth, changed.reset_index(drop=True))


def test_the_stage_adds_them_where_there_are_any(paths: dict[str, Path], tmp_path: Path) -> None:
    config = {"dataset": "toy", "variant": "full", "seed": 3, "evaluate": study.EVALUATE}
    predictions = study.predict(paths, tmp_path / "p.parquet")
    study.swap_scores(paths, tmp_path)
    tables.write("swap_scores", [], tmp_path / "empty.parquet")
    options = {"none": {}} | {
        name: {"swaps": tmp_path / f"{name}.parquet"} for name in ("empty", "swap_scores")
    }
    found = {}
    for name, swaps in options.items():
        files = {kind: tmp_path / f"{name}-{kind}.parquet" for kind in ("metrics", "outcomes")}
        study.run("evaluate", config, **paths, predictions=predictions, **swaps, **files)
        found[name] = tables.read("metrics", files["metrics"])
    pd.testing.assert_frame_equal(found["none"], found["empty"])
    assert not {metric.name for metric in OF_SWAPS} & set(found["none"]["metric"])
    more = found["swap_scores"]
    pd.testing.assert_frame_equal(more.iloc[: len(found["none"])], found["none"])
    rows = more[(more["metric"] == "word_swap") & (more["split"] == "test")]
    assert rows.set_index("group").loc["all", ["value", "n", "seed"]].tolist() == [0.625, 4, 3]


def test_the_ablation_has_their_intervals(paths: dict[str, Path], truth: GroundTruth, tmp_path: Path) -> None:
    rows = study.swap_scores(paths, tmp_path)
    given = tables.read("predictions", study.predict(paths, tmp_path / "p.parquet"))
    methods, path = [], Path("p.parquet")
    for variant, swaps in (("full", rows), ("other", rows.assign(image_score_swap=10.0)), ("baseline", None)):
        parts = [evaluate(truth, given, path, Run("toy", variant, 0))]
        if swaps is not None:
            parts.append(counted(truth, swaps, variant))
        joined = [[pd.concat(tables_of)] for tables_of in zip(*parts, strict=True)]
        methods.append(ablation.Method(variant, *joined))
    table = ablation.compare(methods, "toy", AblationConfig(resamples=100))
    table = table[table["split"].eq("test") & table["metric"].eq("word_swap")]
    assert set(table["variant"]) == {"full", "other"}
    row = table[(table["variant"] == "other") & (table["group"] == "all")].iloc[0]
    assert row["difference"] == -0.625
    assert row["low"] <= row["difference"] <= row["high"]
