"""The stage: outcomes, means, groups, missing predictions, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import evaluation_study as study
from camground.evaluation import ground_truth
from camground.evaluation.metric_table import GROUPINGS, OF_EXPRESSIONS
from camground.evaluation.outcomes import Run, evaluate
from camground.study import tables
from camground.study.errors import UserError


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return study.make(tmp_path_factory.mktemp("study"))


def results(
    paths: dict[str, Path], rows: pd.DataFrame, **changes: object
) -> tuple[pd.DataFrame, pd.DataFrame]:
    truth = study.ground_truth(paths, **changes)
    return evaluate(truth, rows, Path("predictions.parquet"), Run("toy", "full", 0))


def predictions(paths: dict[str, Path], folder: Path, **options: object) -> pd.DataFrame:
    path = study.predict(paths, folder / "predictions.parquet", **options)
    return tables.read("predictions", path)


def value(means: pd.DataFrame, metric: str, group: str = "all", split: str = "test") -> float:
    rows = means[means["metric"].eq(metric) & means["group"].eq(group) & means["split"].eq(split)]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_the_true_box_is_right_everywhere(paths: dict[str, Path], tmp_path: Path) -> None:
    outcomes, means = results(paths, predictions(paths, tmp_path))
    for metric in ("iou", "acc@0.25", "acc@0.5", "acc@0.75", "pointing", "right_object"):
        assert value(means, metric) == 1.0, metric
    assert value(means, "right_extent") == 1.0
    assert value(means, "image_score") == 0.75
    assert value(means, "erased_score") == 0.25
    assert [value(means, name) for name in ("presence_auc", "found", "false_box")] == [1, 1, 0]
    assert set(outcomes["name"]) == {metric.name for metric in OF_EXPRESSIONS}
    # The own map is the matcher's here, so its statistics are too.
    for name in ("coverage", "iou", "energy", "spill", "entropy"):
        assert value(means, f"cam_{name}") == value(means, f"matcher_cam_{name}")
    assert value(means, "cam_coverage") > 0.6


def test_the_chosen_box_is_measured_beside_the_voted_one(paths: dict[str, Path], tmp_path: Path) -> None:
    """The study's read-out must not hide what the choice alone is worth."""
    rows = predictions(paths, tmp_path)
    moved = predictions(paths, tmp_path, offset=6.0)
    rows["chosen_box_xyxy"] = moved["box_xyxy"]
    means, alone = results(paths, rows)[1], results(paths, moved)[1]
    for metric in ("acc@0.25", "acc@0.5", "acc@0.75", "iou"):
        assert value(means, metric) == 1
        assert value(means, f"{metric}_unvoted") == value(alone, metric)
    assert value(alone, "acc@0.75") < 1


def test_presence_is_ranked_against_other_phrases_of_the_split(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    rows = predictions(paths, tmp_path)
    rng = np.random.default_rng(0)
    # tenths, so that there are ties
    rows["presence"], rows["presence_other"] = rng.integers(0, 10, (2, len(rows))) / 10
    rows.loc[rows.index[::4], "presence_other"] = None
    means = results(paths, rows)[1]
    split = tables.read("expressions", paths["expressions"]).set_index("expression_id")["split"]
    test = rows[rows["expression_id"].map(split) == "test"]
    others = test["presence_other"].dropna().to_numpy()
    label = np.repeat([1, 0], [len(test), len(others)])
    area = roc_auc_score(label, np.concatenate([test["presence"], others]))
    assert value(means, "presence_auc") == pytest.approx(area)
    assert value(means, "found") == pytest.approx((test["presence"] >= 0.5).mean())
    assert value(means, "false_box") == pytest.approx((others >= 0.5).mean())
    without = results(paths, predictions(paths, tmp_path, own_map=False))[1]
    assert not set(without["metric"]) & {"presence_auc", "found", "false_box"}


def test_means_are_of_outcomes_and_groups_part_them(paths: dict[str, Path], tmp_path: Path) -> None:
    outcomes, means = results(paths, predictions(paths, tmp_path, offset=6.0))
    test = outcomes[(outcomes["split"] == "test") & (outcomes["name"] == "iou")]
    assert value(means, "iou") == pytest.approx(test["value"].mean())
    rows = means[(means["split"] == "test") & (means["metric"] == "iou")].set_index("group")
    assert set(means["split"]) == {"val", "test"}
    for key in set(GROUPINGS) - {"word_class"}:
        parts = rows[[group.startswith(f"{key}=") for group in rows.index]]
        assert parts["n"].sum() == rows.loc["all", "n"] == len(test)
        mean = (parts["value"] * parts["n"]).sum() / parts["n"].sum()
        assert mean == pytest.approx(rows.loc["all", "value"])
    assert {"words=1-2", "words=3-4", "words=5+", "distractors=2+", "flavour=ref+"} <= {*rows.index}


def test_an_expression_counts_in_every_class_of_words_that_it_says(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """Texts: a colour; a size and a colour; a relation and colours."""
    outcomes, means = results(paths, predictions(paths, tmp_path, offset=6.0))
    outcomes = outcomes[(outcomes["split"] == "test") & (outcomes["name"] == "iou")]
    texts = tables.read("expressions", paths["expressions"]).set_index("expression_id")["text"]
    words = texts.loc[outcomes["expression_id"]].to_numpy()
    rows = means[(means["split"] == "test") & (means["metric"] == "iou")].set_index("group")
    for name, word in (("colour", "red"), ("size", "small"), ("relation", "left of")):
        of_class = outcomes["value"][[word in text for text in words]]
        assert rows.loc[f"word_class={name}", "n"] == len(of_class) > 0
        assert rows.loc[f"word_class={name}", "value"] == pytest.approx(of_class.mean())
    assert rows.loc["word_class=colour", "n"] == rows.loc["all", "n"]
    assert not {"word_class=location", "word_class=pattern"} & {*rows.index}


def test_without_a_map_the_box_points(paths: dict[str, Path], tmp_path: Path) -> None:
    rows = predictions(paths, tmp_path, own_map=False)
    outcomes, means = results(paths, rows)
    assert value(means, "pointing") == 1.0
    assert not outcomes["name"].str.startswith("cam_").any()
    assert outcomes["name"].str.startswith("matcher_cam_").any()


def test_a_lost_prediction_counts_as_wrong(
    paths: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = predictions(paths, tmp_path)
    before = results(paths, rows)[1]
    lost = rows["expression_id"].iloc[-1]
    outcomes, after = results(paths, rows.iloc[:-1])
    n = before["n"][(before["split"] == "test") & (before["metric"] == "iou")].iloc[0]
    assert value(after, "acc@0.5") == pytest.approx(1 - 1 / n)
    mine = outcomes[outcomes["expression_id"] == lost].set_index("name")["value"]
    assert (mine[["iou", "acc@0.25", "pointing", "right_object"]] == 0).all()
    assert "right_extent" not in mine.index
    assert "cam_iou" not in mine.index


def test_order_of_predictions_does_not_matter(paths: dict[str, Path], tmp_path: Path) -> None:
    rows = predictions(paths, tmp_path, offset=3.0)
    first, second = results(paths, rows)[0], results(paths, rows.sample(frac=1, random_state=1))[0]
    pd.testing.assert_frame_equal(first, second)


def test_protocols_change_what_they_say(paths: dict[str, Path], tmp_path: Path) -> None:
    rows = predictions(paths, tmp_path, offset=6.0)
    plain = value(results(paths, rows)[1], "iou")
    targets = tables.read("targets", paths["targets"])
    targets["boxes_xyxy"] = [[b[0].tolist(), [0, 0, 2, 2]] for b in targets["boxes_xyxy"]]
    changed = {**paths, "targets": tmp_path / "targets.parquet"}
    tables.write("targets", targets, changed["targets"])
    assert value(results(changed, rows)[1], "iou") == pytest.approx(plain)
    merged = results(changed, rows, multiple_boxes="merged_box")[1]
    assert value(merged, "iou") < plain


def with_targets(paths: dict[str, Path], folder: Path, boxes: list) -> dict[str, Path]:
    """The study with the same target boxes for every expression."""
    targets = tables.read("targets", paths["targets"])
    targets["boxes_xyxy"], targets["mask"] = [boxes] * len(targets), None
    tables.write("targets", targets, folder / "targets.parquet")
    return {**paths, "targets": folder / "targets.parquet"}


def test_a_target_in_the_corner_gives_nothing_to_a_lost_prediction(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    changed = with_targets(paths, tmp_path, [[0, 0, 4, 4]])
    rows = predictions(paths, tmp_path).iloc[:0]
    means = results(changed, rows)[1]
    for metric in ("iou", "acc@0.25", "pointing", "right_object"):
        assert value(means, metric) == 0, metric


def test_pointing_between_the_boxes_is_wrong_when_they_are_merged_too(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    changed = with_targets(paths, tmp_path, [[0, 0, 4, 4], [40, 40, 44, 44]])
    rows = predictions(paths, tmp_path, own_map=False)
    rows["box_xyxy"] = [[0, 0, 44, 44]] * len(rows)
    means = results(changed, rows, multiple_boxes="merged_box")[1]
    assert value(means, "iou") == 1
    assert value(means, "pointing") == 0


def test_groups_by_size_are_open_above(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 48 x 32 of 96 x 64 pixels is a quarter of the image.
    changed = with_targets(paths, tmp_path, [[0, 0, 48, 32], [0, 0, 4, 4]])
    for edges, name in {
        (0.1, 0.2): "large",
        (0.1, 0.25): "large",
        (0.25, 0.3): "medium",
        (0.26, 0.3): "small",
    }.items():
        monkeypatch.setattr(ground_truth, "SIZE_EDGES", edges)
        assert set(study.ground_truth(changed).groups["size"]) == {name}


def test_boxes_stand_in_for_masks(paths: dict[str, Path], tmp_path: Path) -> None:
    truth = study.ground_truth(paths)
    with_mask = [i for i, mask in enumerate(truth.masks) if mask is not None]
    without = [i for i, mask in enumerate(truth.masks) if mask is None]
    assert with_mask
    assert without
    area = np.array([(b[2] - b[0]) * (b[3] - b[1]) for b in truth.all_targets.boxes_xyxy])
    sums = truth.regions(np.arange(len(truth))).sum(axis=(1, 2))
    np.testing.assert_allclose(sums[with_mask], area[with_mask] - 1)
    np.testing.assert_allclose(sums[without], area[without])


def test_bad_predictions_are_named(paths: dict[str, Path], tmp_path: Path) -> None:
    rows = predictions(paths, tmp_path)
    with pytest.raises(UserError, match="nobody"):
        results(paths, rows.assign(expression_id=["nobody", *rows["expression_id"][1:]]))
    with pytest.raises(UserError, match="twice"):
        results(paths, pd.concat([rows, rows.iloc[:1]]))
    for column in ("box_xyxy", "chosen_box_xyxy"):
        broken = rows.copy()
        broken[column] = [[float("nan"), 0, 1, 1], *rows[column][1:]]
        with pytest.raises(UserError, match=f" {column} of expression .* is not finite"):
            results(paths, broken)
    with pytest.raises(UserError, match="bytes"):
        results(paths, rows.assign(cam_height=5))


def test_predictions_without_target_are_passed_over(paths: dict[str, Path], tmp_path: Path) -> None:
    rows = predictions(paths, tmp_path)
    extra = rows.iloc[:1].assign(expression_id="e3.0")  # of the training split
    pd.testing.assert_frame_equal(results(paths, pd.concat([rows, extra]))[1], results(paths, rows)[1])


def test_images_without_proposals(paths: dict[str, Path], tmp_path: Path) -> None:
    changed = {**paths, "proposals": tmp_path / "proposals.parquet"}
    proposals = tables.read("proposals", paths["proposals"])
    tables.write("proposals", proposals[proposals["image_id"] != "i1"], changed["proposals"])
    outcomes, _ = results(changed, predictions(paths, tmp_path))
    recall = outcomes[(outcomes["name"] == "recall@0.5") & (outcomes["image_id"] == "i1")]
    assert recall["value"].tolist() == [0, 0, 0]


def test_the_stage(paths: dict[str, Path], tmp_path: Path) -> None:
    config = {"dataset": "toy", "variant": "full", "seed": 3, "evaluate": study.EVALUATE}
    files = {
        "predictions": study.predict(paths, tmp_path / "p.parquet"),
        "metrics": tmp_path / "metrics.parquet",
        "outcomes": tmp_path / "outcomes.parquet",
    }
    study.run("evaluate", config, **paths, **files)
    means = tables.read("metrics", files["metrics"])
    assert set(zip(means["variant"], means["seed"], strict=True)) == {("full", 3)}
    assert means["value"].dtype == np.float64
    typo = {**config, "evaluate": {**study.EVALUATE, "iou_compare": ">"}}
    with pytest.raises(UserError, match=r"evaluate\.iou_compare: unknown key"):
        study.run("evaluate", typo, **paths, **files)


def test_a_study_without_targets_gives_empty_tables(paths: dict[str, Path], tmp_path: Path) -> None:
    changed = {**paths, "targets": tmp_path / "targets.parquet"}
    tables.write("targets", [], changed["targets"])
    outcomes, means = results(changed, predictions(paths, tmp_path))
    assert len(outcomes) == len(means) == 0
    tables.write("outcomes", outcomes, tmp_path / "o.parquet")
    tables.write("metrics", means, tmp_path / "m.parquet")
