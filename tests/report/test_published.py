"""Published numbers: the table is sound, and a benchmark's report shows the right of them, marked as such."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

import fake_study
from camground.data.config import DataConfig
from camground.report.published import BENCHMARKS, TABLE, Method, benchmark, published, read_published
from camground.stages import report as stage
from camground.study.errors import UserError
from conftest import REPOSITORY
from report_page import Page, write_page

REFCOCO = {"kind": "refer", "refer": {"dataset": "refcoco", "split_by": "unc"}}
NAMED = ("ARN", "DTWREG", "EARN", "Pseudo-Q", "RefCLIP", "APL", "QueryMatch", "DViN", "WeakMCN", "CPL")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake study with RefCOCO's splits, but for testB."""
    path = tmp_path_factory.mktemp("results") / "toy"
    return fake_study.make(path, splits=("train", "testA", "val", "testA"))


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(root, REFCOCO, tmp_path_factory.mktemp("page") / "report.html")


def write(root: Path, data: dict[str, Any], output: Path) -> str:
    return write_page(root, output, data=data, ablation={"split": "testA"})


def refer(dataset: str, split_by: str) -> dict[str, Any]:
    return {"kind": "refer", "refer": {"dataset": dataset, "split_by": split_by}}


def test_the_table_is_valid_and_has_the_methods_of_the_field() -> None:
    methods = {method.name: method for method in read_published()}
    assert set(NAMED) <= methods.keys()
    assert any(name.startswith("ALBEF") for name in methods)
    for method in methods.values():
        assert method.results or method.missing
        for row in method.results:
            assert row.source.startswith("https://")
            values = [value for numbers in row.numbers.values() for value in numbers.values()]
            assert values
            assert all(0 <= value <= 100 for value in values)
            # a table of shares between 0 and 1 would pass the bounds
            assert all(value > 5 for value in values)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("RefCLIP", {"val": 60.36, "testA": 58.58, "testB": 57.13}),
        ("WeakMCN", {"val": 69.22, "testA": 70.76, "testB": 63.43}),
        ("CPL", {"val": 70.67, "testA": 74.58, "testB": 67.19}),
    ],
)
def test_numbers_that_the_authors_repositories_give(name: str, numbers: dict[str, float]) -> None:
    (row,) = next(m for m in read_published() if m.name == name).on("refcoco", "acc@0.5")
    assert row.numbers["refcoco"] == numbers
    assert row.quoted_in is None


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (REFCOCO, "refcoco"),
        (refer("refcocog", "umd"), "refcocog-umd"),
        (refer("refcocog", "google"), "refcocog-google"),
        (refer("refclef", "berkeley"), "referit"),
        ({"kind": "flickr30k"}, "flickr30k"),
        # no published numbers are of these splits, though the data set's name is the same
        (refer("refcoco", "google"), None),
        ({**REFCOCO, "kind": "scenes"}, None),
        ({}, None),
    ],
)
def test_a_benchmark_is_known_by_its_split(data: dict[str, Any], name: str | None) -> None:
    assert benchmark(DataConfig.parse(data)) == name


def test_refcoco_shows_its_methods_beside_this_study(page: str, root: Path) -> None:
    lines = Page(page, "published").lines
    assert lines[0][:5] == ["Acc@0.5", "", "val", "testA", "testB"]
    shown = {line[0]: line for line in lines[1:]}
    assert shown["RefCLIP"][2:5] == ["60.36", "58.58", "57.13"]
    assert shown["RefCLIP"][1] == "CVPR 2023 published"
    assert "COCO" in shown["RefCLIP"][6]
    assert shown["VC"][2:5] == ["–", "33.29", "30.13"]
    assert shown["VC"][-1] == "Pseudo-Q, Table 1"
    # numbers on other data sets alone
    assert not {"ALBEF Grad-CAM", "MATN", "EARN"} & shown.keys()
    names = [line[0] for line in lines[1:3]]
    assert names == ["full", "gradcam_ranking"]  # not the oracle
    assert shown["full"][3] == str(fake_study.results(root, "testA").table.cell("full"))
    assert shown["full"][4] == "–"
    assert shown["full"][-1] == "measured here"
    assert sum(line[1].endswith("published") for line in lines) == len(lines) - 3


def test_the_published_are_in_the_order_of_the_reports_split(page: str) -> None:
    column = [float(line[3]) for line in Page(page, "published").lines[3:] if line[3] != "–"]
    assert column == sorted(column, reverse=True)
    assert len(column) > 10


def test_the_links_are_the_sources(page: str) -> None:
    links = Page(page, "published").addresses
    known = {row.source for method in read_published() for row in method.results}
    assert known & set(links)
    assert all(re.match(r"https://\S+$", link) for link in links)
    assert "not measured here" not in page.split('id="published"')[0]
    assert "Only the lines of this study are measured here" in page
    assert "EARN</b> has no number" in page
    assert 'href="#published"' in page


def test_a_folder_stands_beside_flickr30k_as_other_data(root: Path, tmp_path: Path) -> None:
    text = write(root, {"kind": "folder"}, tmp_path / "report.html")
    assert "<b>Other data.</b> This study is on photographs of its own (toy)" in text
    lines = {line[0]: line for line in Page(text, "published").lines}
    assert lines["full"][1] == "this study, other data: toy"
    assert lines["gradcam_ranking"][1] == "this study, other data: toy, best baseline"
    assert lines["MPL"][1] == "AAAI 2025 published"
    assert "RefCLIP" not in lines
    of_benchmark = write(root, {"kind": "flickr30k"}, tmp_path / "report.html")
    assert "ther data" not in of_benchmark.split('id="published"')[1].split("</section>")[0]


def test_methods_since_2024_are_listed_and_no_number_is_made_up() -> None:
    methods = {method.name: method for method in read_published()}
    for name, paper in (("AlignCAT", "2508.03201"), ("LIHE (HEMix)", "2511.12020")):
        assert methods[name].paper == f"https://arxiv.org/abs/{paper}"
        assert methods[name].missing
    (row,) = methods["What is Where by Looking"].on("flickr30k", "pointing")
    assert row.numbers == {"flickr30k": {"test": 75.63}}
    assert methods["What is Where by Looking"].detector == "none"


@pytest.mark.parametrize("data", [{}, {**REFCOCO, "kind": "scenes"}])
def test_no_section_for_other_data(data: dict[str, Any], root: Path, tmp_path: Path) -> None:
    text = write(root, data, tmp_path / "report.html")
    assert 'id="published"' not in text
    assert "#published" not in text
    assert "RefCLIP" not in text


@pytest.mark.parametrize(
    ("name", "data", "headings"),
    [
        ("refcocog-google", refer("refcocog", "google"), ["Acc@0.5"]),
        ("refcocog-umd", refer("refcocog", "umd"), ["Acc@0.5"]),
        ("flickr30k", {"kind": "flickr30k"}, ["Acc@0.5", "Pointing"]),
    ],
)
def test_each_benchmark_has_a_section_of_its_own_numbers(
    name: str, data: dict[str, Any], headings: list[str], root: Path, tmp_path: Path
) -> None:
    found = published(fake_study.results(root, "testA").table, DataConfig.parse(data))
    assert found is not None
    assert [part.heading for part in found.parts] == headings
    for part, metric in zip(found.parts, ["acc@0.5", "pointing"], strict=False):
        expected = [method.name for method in read_published() if method.on(name, metric)]
        assert sorted(line.name for line in part.lines if line.method) == sorted(expected)
        assert set(part.splits) <= set(BENCHMARKS[name].splits)
    text = write(root, data, tmp_path / "report.html")
    lines = Page(text, "published").lines
    assert len(lines) == sum(len(part.lines) + 1 for part in found.parts)
    assert ("RefCOCOg has two splits" in text) == name.startswith("refcocog")
    assert ("evaluate.multiple_boxes: any_box" in text) == (name == "flickr30k")


def changed(tmp_path: Path, change: Any) -> Path:
    """The package's table with `change` applied to its content."""
    content = yaml.safe_load(TABLE.read_text())
    change(content["methods"])
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def refclip(methods: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in methods if row["name"] == "RefCLIP")


def test_text_of_the_table_is_escaped(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(methods: list[dict[str, Any]]) -> None:
        row = refclip(methods)
        row["name"] = row["note"] = row["detector"] = '<script>"&'
        row["results"][0]["source"] = 'https://example.org/"onclick="x'

    methods = read_published(changed(tmp_path, change))
    monkeypatch.setattr("camground.report.published.read_published", lambda: methods)
    text = write(root, REFCOCO, tmp_path / "report.html")
    assert "<script>" not in text
    assert '"onclick="' not in text
    assert '<script>"&' in [line[0] for line in Page(text, "published").lines]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: refclip(m)["results"][0].pop("source"), r"RefCLIP.*results row 1.*source"),
        (lambda m: refclip(m)["results"][0].update(source="javascript:x"), r"results row 1 source"),
        (
            lambda m: refclip(m)["results"][0]["numbers"]["refcoco"].update(val=160),
            r"results row 1 numbers refcoco val.*160",
        ),
        (
            lambda m: refclip(m)["results"][0]["numbers"]["refcoco"].update(val="60.36"),
            r"numbers refcoco val",
        ),
        (
            lambda m: refclip(m)["results"][0]["numbers"]["refcoco"].update(test=60.0),
            r"results row 1 numbers.*refcoco.*test",
        ),
        (lambda m: refclip(m)["results"][0]["numbers"].update(coco={"val": 1}), r"numbers.*coco"),
        (lambda m: refclip(m)["results"][0].update(metric="acc"), r"results row 1 metric"),
        (lambda m: refclip(m).update(sources="x"), r"RefCLIP.*sources"),
        (lambda m: refclip(m).pop("supervision"), r"RefCLIP.*supervision"),
        (lambda m: refclip(m).update(results=[]), r"RefCLIP.*missing"),
        (lambda m: refclip(m).update(missing="lost"), r"RefCLIP.*missing"),
        (lambda m: refclip(m)["results"].append(refclip(m)["results"][0]), r"RefCLIP.*refcoco .* 2 times"),
        (lambda m: m.append(refclip(m)), r"RefCLIP: listed twice"),
        (lambda m: m.append("RefCLIP"), r"methods row \d+"),
        (lambda m: m.clear(), r"methods"),
    ],
)
def test_a_broken_table_says_where(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_published(changed(tmp_path, change))
    assert "published.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["methods: [", "[]", "methods: {}", "", "\udcff"])
def test_a_file_that_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"published\.yaml"):
        read_published(path)
    with pytest.raises(UserError, match=r"published\.yaml"):
        read_published(tmp_path / "none" / "published.yaml")


def test_the_table_travels_with_the_package() -> None:
    from camground.study.code_closure import code_files

    assert TABLE in code_files("camground.report")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["camground"]
    assert any(fnmatch("report/published.yaml", pattern) for pattern in patterns)


def test_a_methods_rows_on_a_data_set() -> None:
    method: Method = next(m for m in read_published() if m.name == "InfoGround")
    assert [row.quoted_in for row in method.on("flickr30k", "acc@0.5")] == ["Pseudo-Q, Table 2"]
    assert [row.quoted_in for row in method.on("flickr30k", "pointing")] == [None]
    assert method.on("refcoco", "acc@0.5") == []


def test_the_tool_lists_what_the_table_holds_and_lacks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        stage.published()
    assert "EARN: no number: its repository" in caplog.text
    assert re.search(r"refcoco, acc@0\.5: \d+: VC, ", caplog.text)
