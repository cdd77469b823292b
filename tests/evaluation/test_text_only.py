"""The floor of word swaps: what a bag of words that sees no image tells of the scenes' grammar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evaluation_study as study
from camground.data.scenes.grammar import word
from camground.data.scenes.word_swaps import replaced
from camground.evaluation import text_only
from camground.evaluation.baselines import BASELINES
from camground.evaluation.metric_table import OF_SWAPS
from camground.study import tables

IMAGES = 200
SIZES = ("small", "big")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A study with a swap of size and one of colour of each first expression. Four in five true sizes are
    small, so that "big" is mostly of a swap; both colours are true and swapped in equally often."""
    paths = study.make(tmp_path_factory.mktemp("study"), images=IMAGES)
    rows = tables.read_arrow("expressions", paths["expressions"]).to_pylist()
    random, made = np.random.default_rng(0), []
    for row in rows:
        image, number = (int(part) for part in row["expression_id"].removeprefix("e").split("."))
        size = SIZES[image // 4 % 5 == 0]
        colour = ("red", "blue")[image // 20 % 2]
        row["text"] = f"the {word('size', size, random)} {word('colour', colour, random)} boat"
        changes = [
            ("size", size, SIZES[size == "small"]),
            ("colour", colour, "blue" if colour == "red" else "red"),
        ]
        for word_class, old, new in changes if number == 0 else ():
            text = replaced(row["text"], word_class, old, new, random)
            assert text
            swap = {"expression_id": f"s{image}.{word_class}", "text": text, "kind": "swap"}
            swap |= {
                "boxed": None,
                "swap_of": row["expression_id"],
                "word_class": word_class,
                "false_of_image": True,
            }
            made.append({**row, **swap})
    tables.write("expressions", [*rows, *made], paths["expressions"])
    return paths


@pytest.fixture(scope="module")
def root(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    study.run_baselines(paths, root, [0, 1])
    return root


def metrics(root: Path) -> pd.DataFrame:
    return tables.read("metrics", root / "text_only" / "seed0" / "metrics.parquet")


def test_the_floor_is_above_a_coin_where_words_give_a_swap_away(root: Path) -> None:
    found = metrics(root)
    found = found[(found["split"] == "test") & (found["metric"] == "word_swap")].set_index("group")
    assert found.loc["word_class=size", "value"] == pytest.approx(0.8)
    assert found.loc["word_class=colour", "value"] == pytest.approx(0.5, abs=0.1)
    assert found.loc["all", "n"] == IMAGES


def test_it_has_word_swaps_alone_and_runs_once(root: Path) -> None:
    assert set(metrics(root)["metric"]) == {"word_swap", "word_swap_object"} < {m.name for m in OF_SWAPS}
    assert len(tables.read("predictions", root / "text_only" / "seed0" / "predictions.parquet")) == 0
    assert not (root / "text_only" / "seed1").exists()


def test_it_is_fitted_on_train_and_sees_no_image(paths: dict[str, Path]) -> None:
    """The same scores whatever the images, their boxes and the swaps of the evaluated splits."""
    truth = study.ground_truth(paths)
    rows = tables.read("expressions", paths["expressions"])
    scores = text_only.swap_scores(rows, truth).set_index("expression_id")
    again = text_only.swap_scores(rows, truth).set_index("expression_id")
    np.testing.assert_array_equal(scores["image_score"], again["image_score"])
    others = rows[(rows["split"] != "test") | (rows["kind"] != "swap") | (rows["word_class"] == "size")]
    fewer = text_only.swap_scores(others, truth).set_index("expression_id")
    assert len(fewer) < len(scores)
    pd.testing.assert_frame_equal(fewer, scores.loc[fewer.index])
    assert set(rows.set_index("expression_id").loc[scores.index, "split"]) == {"val", "test"}
    by_text = scores.groupby(rows.set_index("expression_id").loc[scores.index, "text"])["image_score_swap"]
    assert (by_text.nunique() == 1).all()


def test_a_study_without_swaps_has_no_floor(tmp_path: Path) -> None:
    paths = study.make(tmp_path / "data")
    study.run_baselines(paths, tmp_path, [0])
    assert metrics(tmp_path).empty
    assert "text_only" not in ablated(tmp_path, [0])


def test_tables_show_it_beside_word_swaps_and_nowhere_else(root: Path) -> None:
    text = ablated(root, [0, 1])
    main, swaps = text.split("\n## ")[0], text.split("## Word swap by class of the changed word")[1]
    assert "text_only" not in main
    assert "| text_only" in swaps
    assert "The floor is text_only" in swaps


def ablated(root: Path, seeds: list[int]) -> str:
    """The Markdown of the ablation of the baselines alone."""
    task = {"dataset": "toy", "seeds": seeds, "variants": [], "baselines": list(BASELINES)}
    task["ablation"] = {"reference": "random", "resamples": 100}
    names = ("output", "csv", "markdown", "latex")
    study.run("ablation", task, root=root, **{name: root / name for name in names})
    return (root / "markdown").read_text()
