"""Files of a study: how they are read, and which lies over which."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from camground.study.errors import UserError
from camground.study.layers import layers, merge, merged_files, read_yaml


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml"):
        read_yaml(tmp_path / "absent.yaml")
    for text in ("a: [", "- a\n- b\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(UserError, match=r"bad\.yaml"):
            read_yaml(tmp_path / "bad.yaml")


def test_merge_goes_key_by_key_and_copies() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    difference = {"a": {"c": [5]}, "e": {"f": 6}}
    kept = copy.deepcopy((base, difference))
    merged = merge(base, difference)
    assert merged == {"a": {"b": 1, "c": [5]}, "d": 3, "e": {"f": 6}}
    merged["a"]["c"].append(7)
    merged["e"]["f"] = 8
    assert (base, difference) == kept


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "config.yaml": "{a: 0, b: 0, c: 0, d: 0, e: 0}",
        "low.yaml": "{b: 1, c: 1, d: 1, e: 1}",
        "middle.yaml": "{extends: low.yaml, c: 2, d: 2, e: 2}",
        "study.yaml": "{extends: middle.yaml, d: 3, e: 3}",
        "own.yaml": "{e: 4}",
        "circle.yaml": "{extends: circle.yaml}",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_lies_over_what_it_extends(folder: Path) -> None:
    assert layers(read_yaml("study.yaml")) == ["low.yaml", "middle.yaml"]
    assert layers(read_yaml("own.yaml")) == []
    config = merged_files(read_yaml("config.yaml"), "study.yaml", "own.yaml")
    assert config == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "extends": "middle.yaml"}


def test_a_study_of_the_checkout_is_found_from_elsewhere(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("low.yaml", "middle.yaml", "other.yaml"):
        (checkout / name).write_text("{b: 9}")
    monkeypatch.setattr("camground.study.layers.CHECKOUT", checkout)
    monkeypatch.setenv("HOME", str(folder))
    assert layers({"extends": "other.yaml"}) == [str(checkout / "other.yaml")]
    # the working directory's own comes first
    assert layers({"extends": "middle.yaml"}) == ["low.yaml", "middle.yaml"]
    assert layers({"extends": "~/low.yaml"}) == [str(folder / "low.yaml")]


def test_what_cannot_be_extended(folder: Path) -> None:
    for extends, message in (
        ("circle.yaml", "circle.yaml extends itself"),
        ("absent.yaml", "absent.yaml: No such file"),
        (3, "must be the path of a study's file, not 3"),
    ):
        with pytest.raises(UserError, match=message):
            layers({"extends": extends})
