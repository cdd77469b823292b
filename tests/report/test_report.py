"""The report: opens offline, shows what the tables say, and its gallery follows the stated rule."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fake_study
from camground.report import gallery, main_table, theme
from camground.report.results import Results, failure_cause
from camground.stages.report import main
from camground.study import tables
from camground.study.errors import UserError
from evaluation_study import EVALUATE

OPTIONS: dict[str, Any] = {
    "path": "report.html",
    "split": "test",
    "metric": "acc@0.5",
    "metrics": ["acc@0.25", "acc@0.5", "iou"],
    "groups": ["flavour", "size", "distractors", "words"],
    "curves": [],
    "gallery": {
        "variant": "full",
        "successes": 3,
        "failures": 2,
        "picture_width": 64,
        "order_seed": 0,
    },
}
CONFIG = {**fake_study.CONFIG, "evaluate": EVALUATE, "report": OPTIONS}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_study.make(tmp_path_factory.mktemp("results") / "toy")


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    output = root.parent / "report.html"
    main(["--config", json.dumps(CONFIG), "--root", str(root), "--output", str(output)])
    return output.read_text()


class Page(HTMLParser):
    """Collects addresses, tags and the text of the quotes."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.quotes: list[str] = []
        self._in_quote = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.addresses += [found[k] or "" for k in ("src", "href", "xlink:href") if k in found]
        self._in_quote = tag == "p" and found.get("class") == "quote"

    def handle_data(self, data: str) -> None:
        if self._in_quote:
            self.quotes.append(data)
            self._in_quote = False


def parse(text: str) -> Page:
    parsed = Page()
    parsed.feed(text)
    return parsed


def test_the_page_asks_for_nothing_from_outside(page: str) -> None:
    parsed = parse(page)
    assert parsed.addresses
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses)
    assert not {"script", "link", "iframe"} & {
        tag for tag, found in parsed.tags if found.get("rel") != "icon"
    }
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    assert len(page) < 8e6


def test_every_reference_inside_the_page_has_its_target(page: str) -> None:
    parsed = parse(page)
    ids = {found["id"] for _, found in parsed.tags if found.get("id")}
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= ids


def test_text_of_the_data_is_escaped(page: str) -> None:
    assert "<block>" not in page
    assert any("<block>" in quote for quote in parse(page).quotes)


def test_no_path_of_this_machine_in_the_page(page: str, root: Path) -> None:
    assert str(root.parent) not in page


def test_the_page_says_what_found_the_proposals(page: str) -> None:
    assert re.search(r"<dt>proposals from</dt>\s*<dd>toy</dd>", page)


def test_charts_follow_the_theme(page: str) -> None:
    assert "var(--ink)" in page
    for colour in theme.VARIABLES:
        assert colour not in page


def test_the_table_says_what_the_ablation_table_says(root: Path) -> None:
    results = Results(root, CONFIG)
    found = {row.name: row for row in main_table.rows(results)}
    assert list(found) == [*fake_study.VARIANTS, *fake_study.BASELINES]
    mean = results.mean("baseline", "acc@0.5")
    assert mean is not None
    assert found["baseline"].cells[1].mean == f"{100 * mean:.1f}"
    assert found["full"].verdict == "reference"
    # The oracle knows the answer: never the best.
    assert not any(cell.best for cell in found["oracle"].cells)
    for at in range(3):
        best = {row.cells[at].mean for row in found.values() if row.cells[at].best}
        others = [row for name, row in found.items() if name != "oracle"]
        assert best == {max((row.cells[at].mean for row in others), key=float)}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-0.2, -0.1, "below"), (0.1, 0.2, "above"), (-0.1, 0.1, "null"), (0.0, 0.1, "null")],
)
def test_an_interval_that_holds_0_is_a_null_result(low: float, high: float, said: str) -> None:
    assert main_table.verdict(low, high) == said


def test_a_null_result_is_visible(root: Path, page: str) -> None:
    null = [row.name for row in main_table.rows(Results(root, CONFIG)) if row.verdict == "null"]
    assert page.count('class="pill null"') == len(null) > 0


def test_the_gallery_takes_the_first_in_hash_order_and_nothing_else(root: Path) -> None:
    results = Results(root, CONFIG)
    cards, counts = gallery.choose(results)
    outcomes = results.outcomes("full", 0)
    order = gallery.hash_order(outcomes, 0)
    assert gallery.hash_order(reversed(order), 0) == order
    right = [name for name in order if outcomes[name]["iou"] >= 0.5]
    wrong = [name for name in order if outcomes[name]["iou"] < 0.5]
    assert [card.expression_id for card in cards] == right[:3] + wrong[:2]
    assert counts == {"right": len(right), "wrong": len(wrong)}
    assert gallery.hash_order(order, 1) != order


def test_cards_show_the_boxes_of_the_tables(root: Path, page: str) -> None:
    results = Results(root, CONFIG)
    cards = gallery.fill(results, gallery.choose(results)[0])
    predictions = tables.read("predictions", root / "full" / "seed0" / "predictions.parquet")
    boxes = dict(zip(predictions["expression_id"], predictions["box_xyxy"], strict=True))
    drawn = [
        [float(found[key] or "nan") for key in ("x", "y", "width", "height")]
        for tag, found in parse(page).tags
        if tag == "rect" and found.get("class") == "box chosen"
    ]
    assert len(drawn) == len(cards)
    for card, (x, y, width, height) in zip(cards, drawn, strict=True):
        assert np.allclose([x, y, x + width, y + height], boxes[card.expression_id], atol=0.11)
        assert card.matcher_map is not None
        assert card.own_map is not None
        assert card.matcher_map.shape == (fake_study.CELLS, fake_study.CELLS)


@pytest.mark.parametrize(
    ("outcomes", "cause"),
    [
        ({"recall@0.5": 0.0, "right_object": 1.0, "iou": 0.4}, "proposal missing"),
        ({"recall@0.5": 1.0, "right_object": 0.0, "iou": 0.4}, "wrong object"),
        ({"recall@0.5": 1.0, "right_object": 1.0, "iou": 0.4}, "wrong extent"),
        ({"recall@0.5": 1.0, "iou": 0.02}, "wrong object"),
        ({"recall@0.5": 1.0, "iou": 0.3}, "wrong extent"),
    ],
)
def test_why_an_answer_is_wrong(outcomes: dict[str, float], cause: str) -> None:
    assert failure_cause(outcomes) == cause


def test_shares_of_the_causes_sum_to_1_and_right_is_the_accuracy(root: Path) -> None:
    results = Results(root, CONFIG)
    shares = results.cause_shares("no_attention_mining")
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["right"] == pytest.approx(results.mean("no_attention_mining", "acc@0.5"))


def test_heat_is_clear_at_0_and_hot_at_the_maximum() -> None:
    heat = np.zeros((4, 6))
    assert gallery.heat_rgba(heat)[..., 3].max() == 0
    heat[1, 2] = 0.1
    rgba = gallery.heat_rgba(heat)
    assert rgba[1, 2, 3] > 200
    assert rgba[0, 0, 3] == 0
    assert gallery.enlarged(heat).shape == (64, 96)


def test_the_pictures_for_documents_are_written(page: str, root: Path) -> None:
    assert page
    for name in ("ablation", "curves", "gallery"):
        with Image.open(root / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 200


def test_a_study_without_maps_groups_and_answers(root: Path, tmp_path: Path) -> None:
    """Photographs: no objects, flavours or own maps; an image without proposals has no answer."""
    poor = Path(shutil.copytree(root, tmp_path / "toy"))
    ablation = tables.read("ablation", poor / "ablation.parquet")
    kept = (ablation["group"] == "all") & ~ablation["metric"].str.contains("cam")
    tables.write("ablation", ablation[kept], poor / "ablation.parquet")
    path = poor / "full" / "seed0" / "predictions.parquet"
    tables.write("predictions", tables.read("predictions", path).iloc[:0], path)
    output = tmp_path / "report.html"
    main(["--config", json.dumps(CONFIG), "--root", str(poor), "--output", str(output)])
    text = output.read_text()
    assert "no answer" in text
    assert 'id="groups"' not in text
    assert 'id="focus"' not in text


def test_errors_name_the_file_or_the_key(root: Path, tmp_path: Path) -> None:
    other = {**OPTIONS, "gallery": {**OPTIONS["gallery"], "variant": "fulll"}}
    rest = ["--root", str(root), "--output", str(tmp_path / "r.html")]
    with pytest.raises(UserError, match=r"report\.gallery\.variant"):
        main(["--config", json.dumps({**CONFIG, "report": other}), *rest])
    other = {**OPTIONS, "metric": "acc@0.9"}
    with pytest.raises(UserError, match=r"report\.metric"):
        main(["--config", json.dumps({**CONFIG, "report": other}), *rest])
    broken = Path(shutil.copytree(root, tmp_path / "toy"))
    (broken / "full" / "seed1" / "outcomes.parquet").unlink()
    with pytest.raises(UserError, match=r"full/seed1/outcomes\.parquet"):
        main(["--config", json.dumps(CONFIG), "--root", str(broken), *rest[2:]])


def test_a_curve_of_one_epoch_is_a_point() -> None:
    from camground.report.charts import _marker

    assert _marker(np.array([1.0])) == "o"
    assert not _marker(np.array([1.0, 2.0]))
