"""Photographs that are trained on and evaluated on: found in the set itself and across the family."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from benchmark_files import Refer, refer_refusal, run_refer, small_refer
from camground.stages.leakage import leakage
from camground.study.errors import UserError
from camground.study.progress import log
from data_stage import table

LISTING = "leakage-refused.json"


@pytest.fixture(autouse=True)
def one_photograph_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets of these tests have no more of val."""
    monkeypatch.setattr("camground.data.kinds.FEWEST", 1)


def audited(refer: Refer, out: Path, allow: str = "nothing") -> dict:
    """The list that the stage writes; `UserError` when it refuses."""
    leakage(refer.root, refer.dataset, refer.split_by, out / "leakage.json", allow)
    return json.loads((out / "leakage.json").read_text())


def test_splits_by_object_share_photographs(tmp_path: Path) -> None:
    """RefCOCOg by google: another object of a training photograph is in val."""
    refer = small_refer(tmp_path, "refcocog", "google")
    refer.add("val", 500, ["the dog"], [2.0, 2.0, 9.0, 9.0])
    refer.write()
    message = refer_refusal(refer, tmp_path / "out", allow_sibling_leakage=True)
    listed = json.loads((tmp_path / "out" / LISTING).read_text())
    assert "refcocog(google) val: 1 of its 2 photographs" in message
    assert "data.refer.allow_leakage: true" in message
    assert listed["trained"] == 3
    assert [one["photographs"] for one in listed["own"]] == [["coco:500"]]

    with pytest.raises(UserError, match=r"refcocog\(google\) val: 1 of its 2 photographs"):
        audited(refer, tmp_path / "out", "siblings")
    assert audited(refer, tmp_path / "out", "all") == listed
    run_refer(refer, tmp_path / "out", allow_leakage=True)
    assert not (tmp_path / "out" / LISTING).exists()
    images = table(tmp_path / "out", "images")
    assert images.image_id.is_unique
    expressions = table(tmp_path / "out", "expressions")
    shared = expressions[expressions.image_id == "COCO_train2014_000000000500.jpg"]
    assert set(shared.split) == {"train", "val"}


def test_photographs_of_the_family(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COCO's photographs are the same in RefCOCO and RefCOCOg; ReferItGame's have equal ids alone."""
    refer = small_refer(tmp_path).write()
    other = Refer(tmp_path, "refcocog", "umd")
    other.add("val", 501, ["a person by the sea"])
    other.add("val", 800, ["a dog by the sea"])
    other.add("train", 502, ["trained on in both"])
    other.write()
    referit = Refer(tmp_path, "refclef", "berkeley")
    referit.add("test", 500, ["sky"])
    referit.write()
    message = refer_refusal(refer, tmp_path / "out")
    listed = json.loads((tmp_path / "out" / LISTING).read_text())
    assert "refcocog(umd) val: 1 of its 2 photographs" in message
    assert "data.refer.allow_sibling_leakage: true" in message
    assert "refclef" not in message
    assert listed["own"] == []
    assert [(one["dataset"], one["photographs"]) for one in listed["siblings"]] == [
        ("refcocog", ["coco:501"])
    ]
    assert listed["compared"] == ["refcoco(unc)", "refclef(berkeley)", "refcocog(umd)"]
    monkeypatch.setattr(log, "propagate", True)
    for key in ("allow_leakage", "allow_sibling_leakage"):
        with caplog.at_level(logging.WARNING, "camground"):
            run_refer(refer, tmp_path / key, **{key: True})
        assert "refcocog(umd) val: 1 of its 2 photographs" in caplog.text
        caplog.clear()


def test_a_clean_family_is_not_stopped(tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    other = Refer(tmp_path, "refcoco+", "unc")
    other.add("testA", 800, ["another man"])
    other.write()
    run_refer(refer, tmp_path / "out")
    listed = audited(refer, tmp_path / "out")
    assert (listed["own"], listed["siblings"], listed["unreadable"]) == ([], [], {})


def test_a_sibling_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    (tmp_path / "refcoco+").mkdir()
    (tmp_path / "refcoco+" / "refs(unc).p").write_bytes(refer.refs_file.read_bytes()[:-30])
    assert "refcoco+(unc): not audited: " in refer_refusal(refer, tmp_path / "out")
    run_refer(refer, tmp_path / "allowed", allow_sibling_leakage=True)
    listed = audited(refer, tmp_path / "out", "siblings")
    assert list(listed["unreadable"]) == ["refcoco+(unc)"]
    assert listed["compared"] == ["refcoco(unc)"]


def test_a_study_without_its_refs_says_which_there_are(tmp_path: Path) -> None:
    refer = small_refer(tmp_path, "refcocog", "google").write()
    refer.split_by = "umd"
    with pytest.raises(UserError, match=r"refs files there: refs\(google\)\.p"):
        audited(refer, tmp_path / "out")


def test_what_is_refused_is_listed_too(tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    assert audited(refer, tmp_path)["trained"] == 3
    refer.add("testB", 501, ["the other one"])
    with pytest.raises(UserError, match=r"refcoco\(unc\) testB: 1 of its 2 photographs"):
        audited(refer.write(), tmp_path)
    listed = json.loads((tmp_path / "leakage.json").read_text())
    assert listed["own"][0]["photographs"] == ["coco:501"]
