"""The ablation table: means, deviation, differences, Holm over the tests, texts, bad input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import evaluation_study as study
from camground.evaluation import statistics
from camground.evaluation.baselines import BASELINES
from camground.study import tables
from camground.study.errors import UserError

VARIANTS = {"full": 1.0, "no_cam": 8.0, "same": 1.0}
SEEDS = [0, 1]
OUTPUTS = {"output": "a.parquet", "csv": "a.csv", "markdown": "a.md", "latex": "a.tex"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with three variants of two seeds and every baseline."""
    folder = tmp_path_factory.mktemp("study")
    paths = study.make(folder / "data", images=40)
    for name, offset in VARIANTS.items():
        for seed in SEEDS:
            run = folder / name / f"seed{seed}"
            study.run(
                "evaluate",
                {"dataset": "toy", "variant": name, "seed": seed, "evaluate": study.EVALUATE},
                **paths,
                predictions=study.predict(paths, run / "predictions.parquet", offset + 2 * seed),
                metrics=run / "metrics.parquet",
                outcomes=run / "outcomes.parquet",
            )
    study.run_baselines(paths, folder, SEEDS)
    return folder


def ablate(root: Path, folder: Path, **changes: object) -> None:
    task = {
        "dataset": "toy",
        "variants": list(VARIANTS),
        "baselines": list(BASELINES),
        "seeds": SEEDS,
        "ablation": study.ABLATION,
        **changes,
    }
    outputs = {name: folder / file for name, file in OUTPUTS.items()}
    study.run("ablation", task, root=root, **outputs)


@pytest.fixture(scope="module")
def made_in(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    ablate(root, folder)
    return folder


@pytest.fixture(scope="module")
def table(made_in: Path) -> pd.DataFrame:
    return tables.read("ablation", made_in / "a.parquet")


def row(
    table: pd.DataFrame, variant: str, metric: str = "acc@0.5", split: str = "test", group: str = "all"
) -> pd.Series:
    keys = {"variant": variant, "metric": metric, "split": split, "group": group}
    found = table[np.logical_and.reduce([table[key] == value for key, value in keys.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_means_and_deviations_over_seeds(root: Path, table: pd.DataFrame) -> None:
    for metric in ("acc@0.5", "iou", "cam_iou", "right_extent"):
        values = []
        for seed in SEEDS:
            found = tables.read("metrics", root / "no_cam" / f"seed{seed}" / "metrics.parquet")
            keep = (found["metric"] == metric) & (found["split"] == "test")
            values.append(found[keep & (found["group"] == "all")]["value"].iloc[0])
        mine = row(table, "no_cam", metric)
        assert mine["mean"] == pytest.approx(np.mean(values))
        assert mine["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert mine["seeds"] == 2
    assert row(table, "oracle")["seeds"] == 1
    assert np.isnan(row(table, "oracle")["deviation"])
    assert row(table, "random")["seeds"] == 2


def test_differences_from_the_reference(table: pd.DataFrame) -> None:
    full, worse, same = (row(table, name) for name in ("full", "no_cam", "same"))
    assert worse["difference"] == pytest.approx(worse["mean"] - full["mean"])
    assert worse["low"] <= worse["difference"] <= worse["high"] < 0
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)
    assert full[["difference", "low", "high", "p", "p_holm"]].isna().all()
    group = row(table, "no_cam", group="flavour=ref+")
    assert np.isfinite(group["difference"])
    assert np.isnan(group["low"])


def test_holm_counts_the_study_s_tests_alone(table: pd.DataFrame) -> None:
    tested = table[table["p_holm"].notna()]
    learned = {name for name, baseline in BASELINES.items() if baseline.tested}
    assert {"gradcam_ranking", "gradcam_box"} <= learned
    assert not {"random", "centre", "whole_image", "largest", "objectness", "oracle"} & learned
    assert sorted(tested["variant"]) == sorted({*VARIANTS, *learned} - {"full"})
    assert set(zip(tested["split"], tested["metric"], tested["group"], strict=True)) == {
        ("test", "acc@0.5", "all")
    }
    expected = statistics.holm(tested["p"].to_numpy())
    np.testing.assert_allclose(tested["p_holm"], expected)


def test_texts(made_in: Path, table: pd.DataFrame) -> None:
    text = (made_in / "a.md").read_text()
    full = row(table, "full")
    assert f"{100 * full['mean']:.1f} ± {100 * full['deviation']:.1f}" in text
    assert f"{full['n']} expressions of 20 images" in text
    assert "200 resamples of images and of the 2 seeds together" in text
    assert "by Holm: a null result): same" in text
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    order = ["Method", "---", *VARIANTS, *(name for name in BASELINES if name != "text_only")]
    assert [name.strip(":-") or "---" for name in names[: len(order)]] == order
    for heading in ("by flavour", "by size", "by distractors", "Split val"):
        assert heading in text
    latex = (made_in / "a.tex").read_text()
    assert re.search(r"no\\_cam +& ", latex)
    assert latex.count("\\midrule") == 2
    rows = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len({line.count(" & ") for line in rows}) == 1
    csv = pd.read_csv(made_in / "a.csv")
    assert list(csv.columns) == list(table.columns)
    assert len(csv) == len(table)


def test_the_same_bytes_again(root: Path, made_in: Path, tmp_path: Path) -> None:
    ablate(root, tmp_path)
    for file in OUTPUTS.values():
        assert (tmp_path / file).read_bytes() == (made_in / file).read_bytes()


def test_the_interval_covers_the_choice_of_seeds(root: Path, tmp_path: Path) -> None:
    """Runs of `no_cam` differ by seed, which widens the interval: with one of them twice it is narrower."""
    copy = shutil.copytree(root, tmp_path / "copy")
    runs = [copy / "no_cam" / f"seed{seed}" for seed in SEEDS]
    for seed, run in enumerate(runs):
        outcomes = tables.read("outcomes", run / "outcomes.parquet")
        outcomes.loc[outcomes["name"] == "acc@0.5", "value"] = seed
        tables.write("outcomes", outcomes, run / "outcomes.parquet")
    ablate(copy, tmp_path, variants=["full", "no_cam"], baselines=[])
    both = row(tables.read("ablation", tmp_path / "a.parquet"), "no_cam")
    shutil.copy(runs[1] / "outcomes.parquet", runs[0])
    ablate(copy, tmp_path, variants=["full", "no_cam"], baselines=[])
    equal = row(tables.read("ablation", tmp_path / "a.parquet"), "no_cam")
    assert both["high"] - both["low"] > 1.3 * (equal["high"] - equal["low"])


def test_one_seed_and_a_reference_alone(root: Path, tmp_path: Path) -> None:
    ablate(root, tmp_path, seeds=[0], variants=["full"], baselines=[])
    found = tables.read("ablation", tmp_path / "a.parquet")
    assert found["deviation"].isna().all()
    assert set(found["variant"]) == {"full"}


def test_a_missing_file_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"random/seed2/outcomes\.parquet"):
        ablate(root, tmp_path, seeds=[0, 1, 2])
    assert not (tmp_path / "a.parquet").exists()


def test_a_missing_reference_and_other_expressions_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ablation\.reference"):
        ablate(root, tmp_path, ablation={**study.ABLATION, "reference": "ful"})
    copy = tmp_path / "copy"
    for name in ("full", "same"):
        for seed in SEEDS:
            for kind in ("metrics", "outcomes"):
                found = tables.read(kind, root / name / f"seed{seed}" / f"{kind}.parquet")
                if name == "same" and kind == "outcomes":
                    found = found[found["expression_id"] != "e1.0"]
                tables.write(kind, found, copy / name / f"seed{seed}" / f"{kind}.parquet")
    with pytest.raises(UserError, match="other expressions"):
        ablate(copy, tmp_path, variants=["full", "same"], baselines=[])


def test_a_study_without_targets_says_so(tmp_path: Path) -> None:
    for seed in SEEDS:
        for kind in ("metrics", "outcomes"):
            tables.write(kind, [], tmp_path / "full" / f"seed{seed}" / f"{kind}.parquet")
    ablate(tmp_path, tmp_path, variants=["full"], baselines=[])
    assert "nothing to compare" in (tmp_path / "a.md").read_text()
    assert len(tables.read("ablation", tmp_path / "a.parquet")) == 0
