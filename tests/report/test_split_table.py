"""Every evaluated split side by side, in the report and the document: the metrics tables' numbers."""

from __future__ import annotations

import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from test_report import CONFIG, OPTIONS, parse

import fake_study
from camground.report.main_table import rows
from camground.report.results import Results
from camground.report.split_table import split_table
from camground.report.study import document
from camground.stages.report import main
from camground.study import tables

METHODS = [*fake_study.VARIANTS, *fake_study.BASELINES]
SEVERAL = ("train", "testB", "val", "testA")


def config(split: str, metric: str = "acc@0.5") -> dict[str, Any]:
    return {**CONFIG, "report": {**OPTIONS, "split": split, "metric": metric}}


def report(root: Path, made: dict[str, Any], output: Path) -> str:
    main(["--config", json.dumps(made), "--root", str(root), "--output", str(output)])
    return output.read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with the splits of RefCOCO, of different sizes."""
    return fake_study.make(tmp_path_factory.mktemp("results") / "toy", images=15, splits=SEVERAL)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "toy"
    return fake_study.make(path, images=8, splits=("train", "test"))


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(root, config("testA"), tmp_path_factory.mktemp("page") / "report.html")


class Table(HTMLParser):
    """The section's table: rows of cells' texts, and the cells that are in bold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.best: set[tuple[str, int]] = set()
        self._cell = False
        self.feed(page.split('<section id="splits">')[1].split("</section>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            if dict(attrs).get("class") == "best":
                self.best.add((self.lines[-1][0], len(self.lines[-1])))
            self.lines[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.lines[-1][-1] += data


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


def test_the_page_has_a_column_for_every_split_in_the_order_of_the_splits(
    page: str, root: Path
) -> None:
    table = Table(page)
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


def test_it_agrees_with_the_main_table_on_the_reports_split(page: str, root: Path) -> None:
    main_cells = {row.name: row.cells[1] for row in rows(Results(root, config("testA")))}
    for name, _, cell, _ in Table(page).lines[1:]:
        assert cell == f"{main_cells[name].mean} ± {main_cells[name].deviation}"


def test_the_best_of_each_split_is_in_bold_and_never_the_oracle(page: str) -> None:
    table = Table(page)
    expected = set()
    for at in (1, 2, 3):
        means = {
            line[0]: float(line[at].split()[0]) for line in table.lines[1:] if line[0] != "oracle"
        }
        expected |= {(name, at) for name, mean in means.items() if mean == max(means.values())}
    assert table.best == expected


def test_the_section_is_linked(page: str) -> None:
    ids = {found.get("id") for _, found in parse(page).tags}
    assert "splits" in ids
    assert 'href="#splits"' in page


def test_another_metric_has_its_own_heading_and_numbers(root: Path) -> None:
    table = split_table(Results(root, config("val", "iou")))
    assert table is not None
    assert table.metric == "Mean IoU"
    for line in table.lines:
        found = [f"{cell.mean} ± {cell.deviation}" for cell in line.cells]
        assert found == [measured(root, line.name, s, "iou") for s in ("val", "testA", "testB")]


def test_without_a_value_or_a_deviation(root: Path, tmp_path: Path) -> None:
    """A method that a split has no row of; one run has no deviation. n stays that of the split."""
    for name in ("data", "proposals"):
        (tmp_path / name).symlink_to(root / name)
    made = tables.read("ablation", root / "ablation.parquet")
    made.loc[made["variant"] == "random", "deviation"] = None
    made.loc[made["metric"] == "acc@0.5", "n"] = 1
    gone = (made["variant"] == "baseline") & (made["split"] == "testB")
    tables.write("ablation", made[~gone], tmp_path / "ablation.parquet")
    table = split_table(Results(tmp_path, config("testA")))
    assert table is not None
    n = counts(root)
    assert table.splits == [(split, n[split]) for split in ("val", "testA", "testB")]
    lines = {line.name: line for line in table.lines}
    assert [cell.mean == "–" for cell in lines["baseline"].cells] == [False, False, True]
    assert [cell.deviation for cell in lines["random"].cells] == ["", "", ""]
    assert all(cell.deviation for cell in lines["full"].cells)


def test_no_table_where_one_split_is_evaluated(single: Path, tmp_path: Path) -> None:
    text = report(single, config("test"), tmp_path / "report.html")
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
    assert lines[0] == ["Method", *(f"{s} (n {n[s]})" for s in ("val", "testA", "testB"))]
    assert lines[2:] == Table(page).lines[1:]
    assert re.search(r"\n## Results\n.*\n## Acc@0\.5 on every.*\n## Difference from", text, re.S)
