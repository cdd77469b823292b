"""Word swaps in the report."""

from __future__ import annotations

import json
from pathlib import Path

from test_report import CONFIG

import fake_study
from camground.report.results import Results
from camground.report.word_swaps import by_class
from camground.stages.report import main as report
from camground.study import tables


def test_the_report_shows_them_and_counts_no_swap_as_an_answer(tmp_path: Path) -> None:
    root = fake_study.make(tmp_path / "toy")
    results = Results(root, CONFIG)
    assert by_class(results) == []
    shares = results.cause_shares("full")
    path = root / "ablation.parquet"
    rows = tables.read_arrow("ablation", path).to_pylist()
    like = next(r for r in rows if r["variant"] == "full" and r["split"] == "test")
    for variant, mean in (("full", 0.875), ("baseline", 0.5)):
        for group, n in (("all", 1200), ("word_class=colour", 800), ("word_class=relation", 400)):
            if (variant, group) != ("baseline", "word_class=relation"):
                new = {"metric": "word_swap", "group": group, "mean": mean, "n": n}
                rows.append({**like, **new, "variant": variant, "deviation": 0.0123})
    tables.write("ablation", rows, path)
    path = root / "full" / "seed0" / "outcomes.parquet"
    outcomes = tables.read_arrow("outcomes", path).to_pylist()
    swap = {"expression_id": "e-swap0", "name": "word_swap", "value": 0.0, "split": "test"}
    tables.write("outcomes", [*outcomes, {**outcomes[0], **swap}], path)

    results = Results(root, CONFIG)
    (measured,) = by_class(results)
    assert measured.columns == [("all", 1200), ("colour", 800), ("relation", 400)]
    assert measured.rows == [
        ("full", [("87.5", "1.2")] * 3),
        ("baseline", [("50.0", "1.2")] * 2 + [("–", "")]),
    ]
    assert "Chance is 50" in measured.note
    assert results.cause_shares("full") == shares
    output = tmp_path / "report.html"
    report(["--config", json.dumps(CONFIG), "--root", str(root), "--output", str(output)])
    text = output.read_text()
    assert "Word-swap accuracy by word class" in text
    assert "n 1,200" in text
