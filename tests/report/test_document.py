"""A finished study as Markdown: its numbers are those of the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import fake_study
from camground.stages import report as stage
from camground.study import tables
from camground.study.errors import UserError

COMMAND = "snakemake --cores all --configfile configs/toy.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = fake_study.make(tmp_path / "toy")
    fake_study.add_mining(made)
    return made


def document(root: Path) -> str:
    output = root.parent / "docs" / "study.md"
    stage.document(root, output, COMMAND, "0123abcd")
    return output.read_text()


def rows(text: str, title: str) -> dict[str, dict[str, str]]:
    """The table under a heading: first cell -> heading -> cell."""
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def cell(root: Path, variant: str, metric: str, group: str = "all") -> dict:
    table = tables.read_arrow("ablation", root / "ablation.parquet").to_pylist()
    (found,) = [
        row
        for row in table
        if (row["variant"], row["split"], row["metric"], row["group"]) == (variant, "test", metric, group)
    ]
    return found


def shown(row: dict) -> str:
    return f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"


def test_it_says_how_the_study_was_made(root: Path) -> None:
    text = document(root)
    assert f"```\n{COMMAND}\n```" in text
    for fact in ("commit: 0123abcd", "seeds: 0, 1", "config digest: "):
        assert fact in text
    images = tables.read("images", root / "data" / "images.parquet")["split"]
    texts = tables.read("expressions", root / "data" / "expressions.parquet")["split"]
    for split in ("train", "val", "test"):
        line = next(line for line in text.splitlines() if line.startswith(f"| {split}"))
        numbers = [cell.strip() for cell in line.strip("|").split("|")][1:]
        assert numbers == [str((images == split).sum()), str((texts == split).sum())]


def test_every_method_has_its_means_and_its_difference(root: Path) -> None:
    text = document(root)
    results = rows(text, "Results")
    assert list(results) == [*fake_study.VARIANTS, *fake_study.BASELINES]
    flavours = rows(text, "Acc@0.5 by flavour")
    for name, row in results.items():
        assert row["Acc@0.25"] == shown(cell(root, name, "acc@0.25"))
        assert row["Mean IoU"] == shown(cell(root, name, "iou"))
        assert row["Right object"] == shown(cell(root, name, "right_object"))
        one = next(key for key in flavours[name] if key.startswith("ref+ "))
        assert flavours[name][one] == shown(cell(root, name, "acc@0.5", "flavour=ref+"))
    # the fake study does not measure it
    assert results["full"]["Right extent"] == "–"
    found = rows(text, "Difference from full in Acc@0.5")
    assert "full" not in found
    for name in ("baseline", "gradcam_ranking", "random"):
        row = cell(root, name, "acc@0.5")
        numbers = [f"{100 * row[key]:+.1f}" for key in ("difference", "low", "high")]
        said = "{} [{}, {}]".format(*numbers).replace("-", "−")
        assert found[name]["Difference [95 %]"] == said
        assert found[name]["p (Holm)"] == ("–" if name == "random" else f"{row['p_holm']:.3f}")
    assert "10,000 resamples of images and of the 2 seeds together" in text


def test_own_cams_are_compared_with_and_without_mining(root: Path) -> None:
    found = rows(document(root), "The model's own Grad-CAM and attention mining")
    assert list(found) == ["full", "no_attention_mining", "baseline", "matcher's CAM"]
    assert found["full"]["CAM IoU"] == shown(cell(root, "full", "cam_iou"))
    assert found["matcher's CAM"]["CAM IoU"] == shown(cell(root, "full", "matcher_cam_iou"))
    assert found["baseline"]["Collapse"] == "collapsed: covers everything, seed 0"
    assert found["no_attention_mining"]["Mask share"] == "–"


def test_word_swaps_are_there_if_they_were_measured(root: Path) -> None:
    assert "Word-swap" not in document(root)
    changes = {"metric": "word_swap", "deviation": 0.01, "n": 12}
    means = {"all": 0.7, "word_class=colour": 0.8, "word_class=size": 0.6}
    rows_added = [{**changes, "group": group, "mean": mean} for group, mean in means.items()]
    fake_study.add_ablation_rows(root, rows_added)
    found = rows(document(root), "Word-swap accuracy by class of the changed word")
    assert list(found) == ["full"]
    assert found["full"]["colour (n 12)"] == "80.0 ± 1.0"
    assert found["full"]["size (n 12)"] == "60.0 ± 1.0"
    assert found["full"]["all (n 12)"] == "70.0 ± 1.0"


def test_wall_clock_is_the_sum_of_the_benchmarks(root: Path) -> None:
    assert "Wall-clock" not in document(root)
    (root / "benchmarks").mkdir()
    times = {
        "train-full-seed0": 90,
        "train-no_cam_encoder-seed1": 60,
        "matcher-seed0": 20,
        "matcher-seed1": 10,
    }
    # of a variant that is no longer in the table
    for name, seconds in {**times, "train-gone-seed0": 999}.items():
        text = f"s\th:m:s\tmax_rss\n{seconds}\t0:01:00\t1.0\n"
        (root / "benchmarks" / f"{name}.tsv").write_text(text)
    found = rows(document(root), "Wall-clock")
    assert found["train"] == {"Stage": "train", "Jobs": "2", "Minutes": "2.5"}
    assert found["matcher"] == {"Stage": "matcher", "Jobs": "2", "Minutes": "0.5"}
    assert found["all"] == {"Stage": "all", "Jobs": "4", "Minutes": "3.0"}


def test_trainings_of_another_run_are_refused(root: Path) -> None:
    (root / "full" / "seed7" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="3 trainings, but the ablation table is of 2 seeds"):
        document(root)
