"""Published numbers: the table is sound, and a benchmark's report shows the right of them, marked as such."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_report import OPTIONS

import fake_study
from camground.report import published_table
from camground.report.published import SPLITS, TABLE, Method, benchmark, read_published
from camground.report.results import Results
from camground.stages.report import main
from camground.study import tables
from camground.study.errors import UserError
from evaluation_study import EVALUATE

REFCOCO = {"kind": "refer", "refer": {"dataset": "refcoco", "split_by": "unc"}}
NAMED = (
    "ARN",
    "DTWREG",
    "EARN",
    "Pseudo-Q",
    "RefCLIP",
    "APL",
    "QueryMatch",
    "DViN",
    "WeakMCN",
    "CPL",
)


def config(data: dict[str, Any] | None, split: str = "testA") -> dict[str, Any]:
    made = {**fake_study.CONFIG, "evaluate": EVALUATE, "report": {**OPTIONS, "split": split}}
    return made if data is None else {**made, "data": data}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake study with RefCOCO's splits: its test is testA."""
    made = fake_study.make(tmp_path_factory.mktemp("results") / "toy")
    named = ["images", "expressions"]
    files = [(name, made / "data" / f"{name}.parquet") for name in named]
    files.append(("ablation", made / "ablation.parquet"))
    for name in ("metrics", "outcomes"):
        files += [(name, path) for path in made.glob(f"*/seed*/{name}.parquet")]
    for name, path in files:
        rows = tables.read(name, path)
        tables.write(name, rows.assign(split=rows["split"].replace("test", "testA")), path)
    return made


def report(root: Path, made: dict[str, Any], output: Path) -> str:
    main(["--config", json.dumps(made), "--root", str(root), "--output", str(output)])
    return output.read_text()


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(root, config(REFCOCO), tmp_path_factory.mktemp("page") / "report.html")


class Rows(HTMLParser):
    """The lines of the section's tables as cells' texts, and its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[list[str]] = []
        self.links: list[str] = []
        self._cell = False
        self.feed(page.split('<section id="published">')[1].split("</section>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            self.lines[-1].append("")
            self._cell = True
        elif tag == "a":
            self.links.append(dict(attrs)["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.lines[-1][-1] += data


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


def test_a_benchmark_is_known_by_its_split() -> None:
    def refer(dataset: str, split_by: str) -> dict[str, Any]:
        return {"kind": "refer", "refer": {"dataset": dataset, "split_by": split_by}}

    assert benchmark(REFCOCO) == "refcoco"
    assert benchmark(refer("refcocog", "umd")) == "refcocog-umd"
    assert benchmark(refer("refcocog", "google")) == "refcocog-google"
    assert benchmark(refer("refclef", "berkeley")) == "referit"
    assert benchmark({"kind": "flickr30k", "refer": {}}) == "flickr30k"
    # no published numbers are of these splits, though the data set's name is the same
    assert benchmark(refer("refcoco", "google")) is None
    assert benchmark({**REFCOCO, "kind": "scenes"}) is None
    assert benchmark({}) is None


def test_refcoco_shows_its_methods_beside_this_study(page: str, root: Path) -> None:
    lines = Rows(page).lines
    assert lines[0][:5] == ["Acc@0.5", "", "val", "testA", "testB"]
    shown = {line[0]: line for line in lines[1:]}
    assert shown["RefCLIP"][2:5] == ["60.36", "58.58", "57.13"]
    assert shown["RefCLIP"][1] == "CVPR 2023 published"
    assert "COCO" in shown["RefCLIP"][6]
    assert shown["VC"][2:5] == ["–", "33.29", "30.13"]
    assert shown["VC"][-1] == "Pseudo-Q, Table 1"
    # numbers on other data sets alone
    assert not {"ALBEF Grad-CAM", "MATN", "EARN"} & shown.keys()
    results = Results(root, config(REFCOCO))
    names = [line[0] for line in lines[1:3]]
    assert names == ["full", "gradcam_ranking"]  # not the oracle
    row = results.ablation["full", "acc@0.5", "all"]
    assert shown["full"][3] == f"{100 * row['mean']:.1f} ± {100 * row['deviation']:.1f}"
    assert shown["full"][4] == "–"
    assert shown["full"][-1] == "measured here"
    assert sum(line[1].endswith("published") for line in lines) == len(lines) - 3


def test_the_published_are_in_the_order_of_the_reports_split(page: str) -> None:
    column = [float(line[3]) for line in Rows(page).lines[3:] if line[3] != "–"]
    assert column == sorted(column, reverse=True)
    assert len(column) > 10


def test_the_links_are_the_sources(page: str) -> None:
    rows = Rows(page)
    known = {row.source for method in read_published() for row in method.results}
    assert known & set(rows.links)
    assert all(re.match(r"https://\S+$", link) for link in rows.links)
    assert "not measured here" not in page.split('id="published"')[0]
    assert "Only the lines of this study are measured here" in page
    assert "EARN</b> has no number" in page
    assert 'href="#published"' in page


@pytest.mark.parametrize("data", [None, {**REFCOCO, "kind": "scenes"}, {"kind": "folder"}])
def test_no_section_for_other_data(data: dict[str, Any] | None, root: Path, tmp_path: Path) -> None:
    text = report(root, config(data), tmp_path / "report.html")
    assert 'id="published"' not in text
    assert "#published" not in text
    assert "RefCLIP" not in text


def test_each_benchmark_has_a_section_of_its_own_numbers(root: Path) -> None:
    methods = read_published()
    for name, data in (
        (
            "refcocog-google",
            {"kind": "refer", "refer": {"dataset": "refcocog", "split_by": "google"}},
        ),
        ("refcocog-umd", {"kind": "refer", "refer": {"dataset": "refcocog", "split_by": "umd"}}),
        ("flickr30k", {"kind": "flickr30k", "refer": {}}),
    ):
        lines = Rows(published_table.section(Results(root, config(data)))).lines
        heads = [line for line in lines if line[0] in ("Acc@0.5", "Pointing")]
        metrics = ["acc@0.5", "pointing"] if name == "flickr30k" else ["acc@0.5"]
        assert len(heads) == len(metrics)
        expected = sum(len([m for m in methods if m.on(name, metric)]) for metric in metrics)
        assert len(lines) - 3 * len(heads) == expected > 0
        assert set(heads[0][2 : heads[0].index("proposals")]) <= set(SPLITS[name])


def changed(tmp_path: Path, change: Any) -> Path:
    """The package's table with `change` applied to its content."""
    content = yaml.safe_load(TABLE.read_text())
    change(content["methods"])
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def refclip(methods: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in methods if row["name"] == "RefCLIP")


def test_text_of_the_table_is_escaped(root: Path, tmp_path: Path) -> None:
    def change(methods: list[dict[str, Any]]) -> None:
        row = refclip(methods)
        row["name"] = row["note"] = row["detector"] = '<script>"&'
        row["results"][0]["source"] = 'https://example.org/"onclick="x'

    table = changed(tmp_path, change)
    text = published_table.section(Results(root, config(REFCOCO)), table)
    assert "<script>" not in text
    assert '"onclick="' not in text
    assert '<script>"&' in [line[0] for line in Rows(text).lines]


@pytest.mark.parametrize(
    ("change", "said"),
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
            r"numbers refcoco.*test",
        ),
        (lambda m: refclip(m)["results"][0]["numbers"].update(coco={"val": 1}), r"numbers.*coco"),
        (lambda m: refclip(m)["results"][0].update(metric="acc"), r"results row 1 metric"),
        (lambda m: refclip(m).update(sources="x"), r"RefCLIP.*sources"),
        (lambda m: refclip(m).pop("supervision"), r"RefCLIP.*supervision"),
        (lambda m: refclip(m).update(results=[]), r"RefCLIP.*missing"),
        (lambda m: refclip(m).update(missing="lost"), r"RefCLIP.*missing"),
        (
            lambda m: refclip(m)["results"].append(refclip(m)["results"][0]),
            r"RefCLIP.*refcoco .* 2 times",
        ),
        (lambda m: m.append(refclip(m)), r"RefCLIP: listed twice"),
        (lambda m: m.append("RefCLIP"), r"methods row \d+"),
        (lambda m: m.clear(), r"methods"),
    ],
)
def test_a_broken_table_says_where(change: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
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
    project = (TABLE.parents[3] / "pyproject.toml").read_text()
    assert "report/*.yaml" in project


def test_a_methods_rows_on_a_data_set() -> None:
    method: Method = next(m for m in read_published() if m.name == "InfoGround")
    assert [row.quoted_in for row in method.on("flickr30k", "acc@0.5")] == ["Pseudo-Q, Table 2"]
    assert [row.quoted_in for row in method.on("flickr30k", "pointing")] == [None]
    assert method.on("refcoco", "acc@0.5") == []
