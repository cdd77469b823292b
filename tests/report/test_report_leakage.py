"""What the report says of photographs trained and evaluated on: of the study's tables and its audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fake_study
from camground.report.leakage import Overlap, leakage
from camground.report.results import Results
from camground.study import tables
from camground.study.errors import UserError

AUDIT: dict[str, Any] = {
    "dataset": "refcoco",
    "split_by": "unc",
    "trained": 4,
    "own": [],
    "siblings": [],
    "compared": ["refcoco(unc)"],
    "unreadable": {},
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return fake_study.results(fake_study.make(tmp_path / "toy", images=8, per_image=1))


def audited(results: Results, **found: Any) -> str:
    """The sentences with this audit beside the tables."""
    (results.root / "data" / "leakage.json").write_text(json.dumps(AUDIT | found))
    return " ".join(leakage(results).sentences)


def test_splits_of_their_own_photographs(results: Results) -> None:
    found = leakage(results)
    assert found.sentences == ["None of the 2 photographs of train is in val, test."]
    assert found.overlaps == [Overlap("val", 2, 0), Overlap("test", 4, 0)]
    assert found.rows == []
    assert "|" not in found.to_markdown()


def test_a_photograph_of_train_with_phrases_in_test(results: Results) -> None:
    path = results.root / "data" / "expressions.parquet"
    texts = tables.read("expressions", path)
    both = texts[texts["split"] == "train"].iloc[:1].assign(split="test", expression_id="another")
    texts = pd.concat([texts, both])
    tables.write("expressions", texts, path)
    found = leakage(results)
    assert found.overlaps == [Overlap("val", 2, 0), Overlap("test", 5, 1)]
    assert "data.refer.allow_leakage" in found.sentences[0]
    assert found.rows == [("test", "5", "1 (20.0 %)")]


def test_what_the_audit_found_in_the_family(results: Results) -> None:
    shared = {"dataset": "refcocog", "split_by": "umd", "split": "val", "of": 3}
    said = audited(
        results,
        siblings=[{**shared, "photographs": ["coco:1", "coco:2"]}],
        compared=["refcoco(unc)", "refcoco+(unc)", "refcocog(umd)"],
    )
    assert "Of the family, refcoco+(unc), refcocog(umd) were compared too." in said
    assert "data.refer.allow_sibling_leakage" in said
    document = leakage(results).to_markdown()
    assert document.startswith("\n## Photographs trained and evaluated on\n\nNone of the 2")
    assert "| refcocog(umd) val |             3 |        2 (66.7 %) |" in document


def test_what_was_not_compared_is_not_called_clean(results: Results) -> None:
    assert "No other data set of the family was in data_root" in audited(results)
    said = audited(results, unreadable={"refcoco+(unc)": "/home/me/refs(unc).p: truncated"})
    assert "Could not be read, and so not compared: refcoco+(unc)." in said
    assert "/home/me" not in said
    clean = audited(results, compared=["refcoco(unc)", "refcoco+(unc)"])
    assert clean.endswith("Nor is any evaluated on in refcoco+(unc).")


def test_a_broken_audit_is_named(results: Results) -> None:
    (results.root / "data" / "leakage.json").write_text("{")
    with pytest.raises(UserError, match=r"leakage\.json: cannot be read"):
        leakage(results)
