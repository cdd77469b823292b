"""The page: opens offline and shows what the tables say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import fake_study
from camground.report import theme
from camground.report.ablation_table import NULL
from camground.report.method_tables import by_metric
from camground.report.page import COLUMNS
from camground.study import tables
from camground.study.errors import UserError
from report_page import Page, write_page


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_study.make(tmp_path_factory.mktemp("results") / "toy")


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return write_page(root, root.parent / "report.html")


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    parsed = Page(page)
    assert parsed.addresses
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert not {"script", "link", "iframe"} & {
        tag for tag, found in parsed.tags if found.get("rel") != "icon"
    }
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    assert len(page) < 8e6


def test_every_reference_inside_the_page_has_its_target(page: str) -> None:
    parsed = Page(page)
    ids = {found["id"] for _, found in parsed.tags if found.get("id")}
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= ids


def test_text_of_the_data_is_escaped(page: str) -> None:
    assert "<block>" not in page
    assert any("<block>" in quote for quote in Page(page).quotes)


def test_no_path_of_this_machine_in_the_page(page: str, root: Path) -> None:
    assert str(root.parent) not in page


def test_the_page_says_how_often_a_phrase_of_another_image_is_found(page: str) -> None:
    lines = {line[0]: line[1:] for line in Page(page, "presence").lines if line}
    assert lines["Method"] == ["Presence AUC", "Found", "False boxes"]
    assert lines["full"][0].startswith("100.0")
    assert 0 < float(lines["full"][2].split()[0]) < 100
    assert "random" not in lines


def test_the_models_card_says_what_the_report_does(page: str, root: Path) -> None:
    card = (root / "model_card.md").read_text()
    assert card.startswith("---\nlibrary_name: camground\n")
    for text in ("# Visual grounding, trained on toy", "- **Images and sentences.** Drawn scenes", "| full "):
        assert text in card
    found = Page(page, "presence").lines
    (line,) = [line for line in found if line and line[0] == "full"]
    assert f"Presence AUC {line[1]}" in card
    assert f"and {line[3]} of those of other images" in card
    assert "nothing says how good the boxes are" not in card


def test_the_page_says_what_found_the_proposals(page: str) -> None:
    assert re.search(r"<dt>proposals from</dt>\s*<dd>toy</dd>", page)


def test_charts_follow_the_theme(page: str) -> None:
    assert "var(--ink)" in page
    for colour in theme.VARIABLES:
        assert colour not in page


def test_the_pictures_for_documents_are_written(page: str, root: Path) -> None:
    assert page
    for name in ("ablation", "curves", "gallery"):
        with Image.open(root / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 200


def test_the_main_table_is_on_the_page(root: Path, page: str) -> None:
    table = fake_study.results(root).table
    lines = Page(page, "results").lines
    assert lines[0][:3] == ["Method", "Acc@0.25", "Acc@0.5"]
    assert lines[0][3:6] == ["Acc@0.5, no vote", "Acc@0.75", "Acc@0.75, no vote"]
    shown = {line[0]: line[1 : 1 + len(COLUMNS)] for line in lines[1:]}
    expected = by_metric(table, COLUMNS).lines
    assert shown == {line.name: [str(cell) for cell in line.cells] for line in expected}
    assert {line[0]: line[-3] for line in lines[1:]} == {
        name: table.difference(name).interval for name in table.kinds
    }


def test_a_null_result_is_visible(root: Path, page: str) -> None:
    table = fake_study.results(root).table
    null = [name for name in table.kinds if table.difference(name).verdict == NULL]
    assert page.count('class="pill null"') == len(null) > 0


def test_a_study_without_maps_groups_and_answers(root: Path, tmp_path: Path) -> None:
    """Photographs: no objects, flavours or own maps; an image without proposals has no answer."""
    poor = Path(shutil.copytree(root, tmp_path / "toy"))
    ablation = tables.read("ablation", poor / "ablation.parquet")
    kept = (ablation["group"] == "all") & ~ablation["metric"].str.contains("cam")
    tables.write("ablation", ablation[kept], poor / "ablation.parquet")
    path = poor / "full" / "seed0" / "predictions.parquet"
    tables.write("predictions", tables.read("predictions", path).iloc[:0], path)
    text = write_page(poor, tmp_path / "report.html")
    assert "no answer" in text
    for section in ("groups", "focus"):
        assert f'id="{section}"' not in text
        assert f'href="#{section}"' not in text


def test_rejected_rows_are_listed_and_long_values_cut(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "toy"))
    row = {"file": "captions.csv", "row": 3, "value": "x" * 90, "reason": "<empty>"}
    tables.write("rejected", [row], copy / "data" / "rejected.parquet")
    lines = Page(write_page(copy, tmp_path / "report.html"), "data").lines
    assert lines[-1] == ["captions.csv", "3", "x" * 59 + "…", "<empty>"]


def test_errors_name_the_file_or_the_key(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    with pytest.raises(UserError, match=r"'fulll'.*ablation\.reference"):
        write_page(root, output, ablation={"reference": "fulll"})
    with pytest.raises(UserError, match=r"report\.gallery\.succeses.*`successes`"):
        write_page(root, output, report={"gallery": {"succeses": 1}})
    broken = Path(shutil.copytree(root, tmp_path / "toy"))
    (broken / "full" / "seed1" / "outcomes.parquet").unlink()
    with pytest.raises(UserError, match=r"full/seed1/outcomes\.parquet"):
        write_page(broken, output)
    assert not output.exists()
