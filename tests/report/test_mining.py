"""The report's section on attention mining."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fake_study
from camground.report import mining
from camground.report.ablation_table import Cell
from camground.stages.config import StudyConfig
from conftest import REPOSITORY
from report_page import write_page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = fake_study.make(tmp_path / "toy")
    fake_study.add_mining(made)
    return made


def test_only_variants_that_differ_in_mining_alone_are_compared(root: Path) -> None:
    rows = {row.name: row for row in mining.mined(fake_study.results(root))}
    assert list(rows) == ["full", "no_attention_mining", "baseline"]
    assert rows["full"].differs == "reference"
    assert rows["no_attention_mining"].differs == "no attention mining"
    assert "threshold σ of the mask: 0.2 instead of 0.4" in rows["baseline"].differs
    assert "order of the gradient: first instead of exact" in rows["baseline"].differs
    assert "weight" not in rows["baseline"].differs


def test_the_table_says_what_the_tables_and_histories_say(root: Path) -> None:
    results = fake_study.results(root)
    full, without, _ = (dict(zip(mining.HEADINGS, row.cells, strict=True)) for row in mining.mined(results))
    row = results.table.row("full", "cam_iou")
    assert row is not None
    assert full["CAM IoU"] == Cell(f"{100 * row['mean']:.1f}", f"{100 * row['deviation']:.1f}")
    deviation = 100 * np.std([0.3, 0.2], ddof=1)
    assert full["Mask share"] == Cell("25.0", f"{deviation:.1f}")
    assert full["Size penalty"] == Cell("2.5", f"{deviation / 10:.1f}")
    assert without["Mask share"] == without["Size penalty"] == Cell("–", "")


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({0: 0.8, 1: 0.02}, ""),
        ({}, ""),
        ({0: 0.81, 1: 0.9}, "collapsed: covers everything"),
        ({0: 0.01, 1: 0.0}, "collapsed: covers nothing"),
        ({0: 0.3, 1: 0.9}, "collapsed: covers everything, seed 1"),
        ({0: 0.01, 1: 0.9}, "collapsed: covers everything, seed 1; collapsed: covers nothing, seed 0"),
    ],
)
def test_a_mask_of_all_or_nothing_has_collapsed(shares: dict[int, float], words: str) -> None:
    assert mining.collapse(shares) == words


def test_the_section_is_on_the_page_with_its_chart(root: Path) -> None:
    text = write_page(root, root.parent / "report.html")
    section = text.split('<section id="mining">')[1].split("</section>")[0]
    assert section.count("<svg") == 1
    assert section.count('<th scope="row">') == 3
    assert section.count("collapsed: covers everything, seed 0") == 1
    assert 'href="#mining"' in text
    assert (root / "figures" / "mining.png").stat().st_size > 10_000


def test_the_section_is_left_out_where_only_the_reference_mines(root: Path) -> None:
    others = {
        name: (grounder | {"dropout": 0.3}, *rest)
        for name, (grounder, *rest) in fake_study.MINED.items()
        if name != "full"
    }
    fake_study.add_mining(root, others)
    assert mining.mined(fake_study.results(root)) == []
    assert "#mining" not in write_page(root, root.parent / "report.html")
    assert not (root / "figures" / "mining.png").exists()


def test_the_sweep_changes_attention_mining_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    study = StudyConfig.load("configs/mining.yaml")
    full = study.variant("full").to_dict()
    names = study.variant_names
    assert len(names) == 14
    assert names[0] == study.ablation.reference
    for name in names[1:]:
        differs = mining.difference(study.variant(name).to_dict(), full)
        assert differs is not None, name
        assert len(differs) == 1, name
