"""Tables of the methods, on the page and in the document: their numbers are those of the metrics tables."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest

import fake_study
from camground.report.ablation_table import AblationTable
from camground.report.document import document
from camground.report.method_tables import by_metric, by_split, word_swaps
from camground.study import tables
from report_page import Page, write_page

METHODS = [*fake_study.VARIANTS, *fake_study.BASELINES]
SEVERAL = ("train", "testB", "val", "testA")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with the splits of RefCOCO, of different sizes."""
    return fake_study.make(tmp_path_factory.mktemp("results") / "toy", images=15, splits=SEVERAL)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "toy"
    return fake_study.make(path, images=8, splits=("train", "test"))


@pytest.fixture(scope="module")
def table(root: Path) -> AblationTable:
    return fake_study.results(root, "testA").table


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(root, output, ablation={"split": "testA"})


def measured(root: Path, method: str, split: str, metric: str = "acc@0.5") -> str:
    """Mean and deviation over seeds, of the seeds' metrics tables."""
    values = []
    for seed in fake_study.SEEDS:
        found = tables.read("metrics", root / method / f"seed{seed}" / "metrics.parquet")
        found = found[(found["metric"] == metric) & (found["group"] == "all")]
        values.append(100 * float(found.loc[found["split"] == split, "value"].item()))
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def counts(root: Path) -> dict[str, int]:
    splits = tables.read("expressions", root / "data" / "expressions.parquet", ["split"])["split"]
    return {str(split): int(n) for split, n in splits.value_counts().items()}


def test_the_best_of_a_column_is_marked_and_never_the_oracle(table: AblationTable) -> None:
    found = by_metric(table, ["acc@0.25", "acc@0.5", "iou"])
    lines = {line.name: line.cells for line in found.lines}
    assert list(lines) == METHODS
    assert lines["baseline"][1].mean == f"{100 * (table.mean('baseline') or 0):.1f}"
    assert not any(cell.best for cell in lines.pop("oracle"))
    for column in zip(*lines.values(), strict=True):
        best = {cell.mean for cell in column if cell.best}
        assert best == {max((cell.mean for cell in column), key=float)}
    assert table.difference("full").verdict == "reference"


def test_the_page_has_a_column_for_every_split_in_the_order_of_the_splits(page: str, root: Path) -> None:
    table = Page(page, "splits")
    n = counts(root)
    assert len({n[split] for split in ("val", "testA", "testB")}) > 1
    assert table.lines[0] == [
        "Acc@0.5",
        f"val n {n['val']}",
        f"testA n {n['testA']}",
        f"testB n {n['testB']}",
    ]
    assert [line[0] for line in table.lines[1:]] == METHODS
    for name, *cells in table.lines[1:]:
        assert cells == [measured(root, name, split) for split in ("val", "testA", "testB")]


def test_it_agrees_with_the_main_table_on_the_reports_split(page: str, table: AblationTable) -> None:
    main = {line.name: str(line.cells[0]) for line in by_metric(table, ["acc@0.5"]).lines}
    assert {name: cell for name, _, cell, _ in Page(page, "splits").lines[1:]} == main


def test_the_best_of_each_split_is_in_bold_and_never_the_oracle(page: str) -> None:
    table = Page(page, "splits")
    expected = set()
    for at in (1, 2, 3):
        means = {line[0]: float(line[at].split()[0]) for line in table.lines[1:] if line[0] != "oracle"}
        expected |= {(name, at) for name, mean in means.items() if mean == max(means.values())}
    assert table.best == expected


def test_the_section_is_linked(page: str) -> None:
    ids = {found.get("id") for _, found in Page(page).tags}
    assert "splits" in ids
    assert 'href="#splits"' in page


def test_another_metric_has_its_own_heading_and_numbers(root: Path, table: AblationTable) -> None:
    found = by_metric(table, ["iou"])
    assert found.columns == [("Mean IoU", None)]
    for line in found.lines:
        assert str(line.cells[0]) == measured(root, line.name, "testA", "iou")


def test_without_a_value_or_a_deviation(root: Path, tmp_path: Path) -> None:
    """A method that a split has no row of; one run has no deviation. n stays that of the split."""
    made = tables.read("ablation", root / "ablation.parquet")
    made.loc[made["variant"] == "random", "deviation"] = None
    made.loc[made["metric"] == "acc@0.5", "n"] = 1
    gone = (made["variant"] == "baseline") & (made["split"] == "testB")
    tables.write("ablation", made[~gone], tmp_path / "ablation.parquet")
    table = by_split(fake_study.results(tmp_path, "testA").table)
    assert table is not None
    n = counts(root)
    assert table.columns == [(split, n[split]) for split in ("val", "testA", "testB")]
    lines = {line.name: line for line in table.lines}
    assert [cell.mean == "–" for cell in lines["baseline"].cells] == [False, False, True]
    assert [cell.deviation for cell in lines["random"].cells] == ["", "", ""]
    assert all(cell.deviation for cell in lines["full"].cells)


def test_no_table_where_one_split_is_evaluated(single: Path, tmp_path: Path) -> None:
    text = write_page(single, tmp_path / "report.html")
    assert 'id="results"' in text
    assert 'id="splits"' not in text
    assert "#splits" not in text
    assert "on every evaluated split" not in document(single, "snakemake", "0123abcd")


def test_the_document_says_the_same(root: Path, page: str) -> None:
    text = document(root, "snakemake", "0123abcd")
    part = text.split("## Acc@0.5 on every evaluated split\n")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("|")
    ]
    n = counts(root)
    assert lines[0] == ["Acc@0.5", *(f"{s} (n {n[s]})" for s in ("val", "testA", "testB"))]
    assert lines[2:] == Page(page, "splits").lines[1:]
    assert re.search(r"\n## Results\n.*\n## Acc@0\.5 on every.*\n## Difference from", text, re.S)


def test_word_swaps_are_shown_by_class_and_no_swap_counts_as_an_answer(tmp_path: Path) -> None:
    root = fake_study.make(tmp_path / "toy")
    assert word_swaps(fake_study.results(root).table) == []
    shares = fake_study.results(root).answer_shares("full")
    like = {"metric": "word_swap", "deviation": 0.0123}
    counts = {"all": 1200, "word_class=colour": 800, "word_class=relation": 400}
    changes = [
        {**like, "variant": variant, "group": group, "mean": mean, "n": n}
        for variant, mean in (("full", 0.875), ("baseline", 0.5))
        for group, n in counts.items()
        if (variant, group) != ("baseline", "word_class=relation")
    ]
    fake_study.add_ablation_rows(root, changes)
    path = root / "full" / "seed0" / "outcomes.parquet"
    outcomes = tables.read_arrow("outcomes", path).to_pylist()
    swap = {"expression_id": "e-swap0", "name": "word_swap", "value": 0.0, "split": "test"}
    tables.write("outcomes", [*outcomes, {**outcomes[0], **swap}], path)

    results = fake_study.results(root)
    (found,) = word_swaps(results.table)
    assert found.columns == [("all", 1200), ("colour", 800), ("relation", 400)]
    assert {line.name: [*map(str, line.cells)] for line in found.lines} == {
        "full": ["87.5 ± 1.2"] * 3,
        "baseline": ["50.0 ± 1.2"] * 2 + ["–"],
    }
    assert "The floor is text_only" in found.note
    assert results.answer_shares("full") == shares
    text = write_page(root, tmp_path / "report.html")
    assert "Word-swap accuracy by word class" in text
    assert "n 1,200" in text
