"""The report's section on attention mining, and its error anatomy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_report import CONFIG

import fake_study
from camground.report import mining
from camground.report.anatomy import KEYS, anatomy
from camground.report.results import Results
from camground.stages.report import main
from camground.study import tables
from camground.study.config import load_config, merge, read_yaml, variant_config, variants_to_run
from conftest import REPOSITORY

MINING: dict[str, Any] = {"weight": 0.5, "sigma": 0.4, "order": "exact"}
# What each variant of the made-up study has in its config, and its masks' share by seed.
MADE: dict[str, tuple[dict[str, Any], dict[str, Any], list[float]]] = {
    "full": ({}, {}, [0.3, 0.2]),
    "no_cam_encoder": ({"cam_encoder": {"on": False}}, {"sigma": 0.2}, [0.3, 0.2]),
    "no_attention_mining": ({}, {"weight": 0.0}, []),
    "baseline": ({}, {"sigma": 0.2, "order": "first"}, [0.9, 0.5]),
}


def write(root: Path, variants: dict[str, Any]) -> None:
    for variant, (model, keys, shares) in variants.items():
        for seed in fake_study.SEEDS:
            folder = root / variant / f"seed{seed}" / "train"
            config = {"model": {"width": 64, "cam_encoder": {"on": True}} | model}
            config["losses"] = {"contrastive": 1.0, "attention_mining": {**MINING, **keys}}
            (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, **config}))
            path = folder / "history.parquet"
            rows = tables.read_arrow("history", path).to_pylist()
            for step in (1, 999) if shares else ():
                # only the last counts
                share = shares[seed] if step == 999 else 0.95
                for name, value in (("mask_share", share), ("size_penalty", share / 10)):
                    row = {"step": step, "epoch": 1.0, "name": f"train/{name}", "value": value}
                    rows.append(row)
            tables.write("history", rows, path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = fake_study.make(tmp_path / "toy")
    write(made, MADE)
    return made


def page(root: Path) -> str:
    output = root.parent / "report.html"
    main(["--config", json.dumps(CONFIG), "--root", str(root), "--output", str(output)])
    return output.read_text()


def test_only_variants_that_differ_in_mining_alone_are_compared(root: Path) -> None:
    rows = {row.name: row for row in mining.mined(Results(root, CONFIG))}
    assert list(rows) == ["full", "no_attention_mining", "baseline"]
    assert rows["full"].differs == "reference"
    assert rows["no_attention_mining"].differs == "no attention mining"
    assert "threshold σ of the mask: 0.2 instead of 0.4" in rows["baseline"].differs
    assert "order of the gradient: first instead of exact" in rows["baseline"].differs
    assert "weight" not in rows["baseline"].differs


def test_the_table_says_what_the_tables_and_histories_say(root: Path) -> None:
    results = Results(root, CONFIG)
    full, without, _ = mining.mined(results)
    row = results.ablation["full", "cam_iou", "all"]
    assert full.values["cam_iou"] == (row["mean"], row["deviation"])
    share = full.values["train/mask_share"]
    assert share == pytest.approx((0.25, np.std([0.3, 0.2], ddof=1)))
    assert full.values["train/size_penalty"] == pytest.approx((0.025, share[1] / 10))
    assert without.values["train/mask_share"] is None
    assert without.cells[-2:] == [("–", ""), ("–", "")]
    assert len(full.cells) == len(mining.HEADINGS)
    assert full.cells[mining.HEADINGS.index("mask share")] == ("25.0", "7.1")


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({0: 0.8, 1: 0.02}, ""),
        ({}, ""),
        ({0: 0.81, 1: 0.9}, "collapsed: covers everything"),
        ({0: 0.01, 1: 0.0}, "collapsed: covers nothing"),
        ({0: 0.3, 1: 0.9}, "collapsed: covers everything, seed 1"),
        (
            {0: 0.01, 1: 0.9},
            "collapsed: covers everything, seed 1; collapsed: covers nothing, seed 0",
        ),
    ],
)
def test_a_mask_of_all_or_nothing_has_collapsed(shares: dict[int, float], said: str) -> None:
    assert mining.collapse(shares) == said


def test_the_section_is_on_the_page_with_its_chart(root: Path) -> None:
    text = page(root)
    section = text.split('<section id="mining">')[1].split("</section>")[0]
    assert section.count("<svg") == 1
    assert section.count('<th scope="row">') == 3
    assert section.count("collapsed: covers everything, seed 0") == 1
    assert 'href="#mining"' in text
    assert (root / "figures" / "mining.png").stat().st_size > 10_000


def test_the_section_is_left_out_where_only_the_reference_mines(root: Path) -> None:
    write(root, {name: (one[0] | {"width": 65}, *one[1:]) for name, one in MADE.items()})
    write(root, {"full": MADE["full"]})
    assert mining.mined(Results(root, CONFIG)) == []
    assert "#mining" not in page(root)
    assert not (root / "figures" / "mining.png").exists()


def test_the_anatomy_parts_the_expressions_of_each_grouping(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the edges by which the made-up study parts its sizes
    monkeypatch.setattr("camground.evaluation.ground_truth.SIZE_EDGES", (0.06, 0.99))
    results = Results(root, CONFIG)
    parts = anatomy(results)
    assert {part.key for part in parts} <= set(KEYS)
    shares = results.cause_shares("full")
    whole = results.ablation["full", "acc@0.5", "all"]
    for key in ("flavour", "size", "distractors"):
        found = [part for part in parts if part.key == key]
        assert len(found) > 1
        assert sum(part.n for part in found) == whole["n"]
        for name, share in shares.items():
            mean = sum(part.n * part.shares[name] for part in found) / whole["n"]
            assert mean == pytest.approx(share)
        for part in found:
            assert sum(part.shares.values()) == pytest.approx(1)
            value = part.value.removesuffix("+") if key == "distractors" else part.value
            right = results.ablation["full", "acc@0.5", f"{key}={value}"]
            assert (part.n, part.shares["right"]) == (right["n"], pytest.approx(right["mean"]))


def test_an_expression_is_in_the_anatomy_of_each_class_that_it_says(root: Path) -> None:
    assert not [part for part in anatomy(Results(root, CONFIG)) if part.key == "said"]
    path = root / "data" / "expressions.parquet"
    texts = tables.read("expressions", path)
    first = texts["expression_id"].str.endswith("-0")
    texts["text"] = texts["text"].mask(first, "the small red block").mask(~first, "a red block")
    tables.write("expressions", texts, path)
    parts = {p.value: p for p in anatomy(Results(root, CONFIG)) if p.key == "said"}
    test = texts["split"] == "test"
    assert {name: part.n for name, part in parts.items()} == {
        "colour": test.sum(),
        "size": (test & first).sum(),
    }
    outcomes = [Results(root, CONFIG).outcomes("full", seed) for seed in fake_study.SEEDS]
    right = [
        found[name]["acc@0.5"] for found in outcomes for name in texts.expression_id[test & first]
    ]
    assert parts["size"].shares["right"] == pytest.approx(np.mean(right))


def test_the_sweep_changes_attention_mining_alone() -> None:
    study, sweep = (
        read_yaml(REPOSITORY / "configs" / f"{name}.yaml") for name in ("study", "mining")
    )
    config = merge(merge(load_config(), study), sweep)
    full = variant_config(config, "full")
    names = variants_to_run(config)
    assert len(names) == 14
    assert names[0] == config["ablation"]["reference"]
    for name in names[1:]:
        differs = mining.difference(variant_config(config, name), full)
        assert differs is not None, name
        assert len(differs) == 1, name
