"""The gallery follows the stated rule and shows what the tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fake_study
from camground.report import gallery
from camground.report.config import GalleryConfig
from camground.study import tables
from report_page import Page, write_page

CONFIG = GalleryConfig(successes=3, failures=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_study.make(tmp_path_factory.mktemp("results") / "toy")


def test_the_gallery_takes_the_first_in_hash_order_and_nothing_else(root: Path) -> None:
    results = fake_study.results(root)
    found = gallery.choose(results, CONFIG)
    outcomes = results.outcomes("full", 0)
    order = gallery.hash_order(outcomes, 0)
    assert gallery.hash_order(reversed(order), 0) == order
    right = [name for name in order if outcomes[name]["iou"] >= 0.5]
    wrong = [name for name in order if outcomes[name]["iou"] < 0.5]
    assert [card.expression_id for card in found.cards] == right[:3] + wrong[:2]
    assert (found.right_count, found.wrong_count) == (len(right), len(wrong))
    assert gallery.hash_order(order, 1) != order


def test_cards_show_the_boxes_of_the_tables(root: Path, tmp_path: Path) -> None:
    results = fake_study.results(root)
    cards = gallery.choose(results, CONFIG).cards
    gallery.fill(results, cards)
    predictions = tables.read("predictions", root / "full" / "seed0" / "predictions.parquet")
    boxes = dict(zip(predictions["expression_id"], predictions["box_xyxy"], strict=True))
    drawn = [
        [float(attributes[key] or "nan") for key in ("x", "y", "width", "height")]
        for tag, attributes in Page(write_page(root, tmp_path / "report.html")).tags
        if tag == "rect" and attributes.get("class") == "box chosen"
    ]
    assert len(drawn) == len(cards)
    for card, (x, y, width, height) in zip(cards, drawn, strict=True):
        assert np.allclose([x, y, x + width, y + height], boxes[card.expression_id], atol=0.11)
        assert card.matcher_map is not None
        assert card.own_map is not None
        assert card.matcher_map.shape == (fake_study.CELLS, fake_study.CELLS)


def test_heat_is_clear_at_0_and_hot_at_the_maximum() -> None:
    heat = np.zeros((4, 6))
    assert gallery.heat_rgba(heat)[..., 3].max() == 0
    heat[1, 2] = 0.1
    rgba = gallery.heat_rgba(heat)
    assert rgba.shape == (64, 96, 4)
    # 16 pixels per cell: the middle of the hot one and a far corner
    assert rgba[24, 40, 3] > 200
    assert rgba[63, 95, 3] == 0


def test_without_true_boxes_the_page_shows_answers_and_no_numbers(tmp_path: Path) -> None:
    """As of a folder of photographs without phrases.csv."""
    root = fake_study.make(tmp_path / "toy")
    for name, file in (("targets", "data/targets.parquet"), ("ablation", "ablation.parquet")):
        tables.write(name, [], root / file)
    for name in ("outcomes", "metrics", "learning_curve"):
        for file in root.rglob(f"{name}.parquet"):
            tables.write(name, [], file)
    predictions = tables.read("predictions", root / "full" / "seed0" / "predictions.parquet")
    text = write_page(root, tmp_path / "report.html", report={"gallery": {"successes": 3, "failures": 2}})
    page = Page(text)
    drawn = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "box chosen"]
    assert len(drawn) == 5
    assert not [a for tag, a in page.tags if tag == "rect" and a.get("class") == "box true"]
    assert f"the first 5 of {len(predictions)}" in text
    assert "Nothing is measured" in text
    assert 'id="results"' not in text
    assert "IoU" not in text.split('id="gallery"')[1].split("</section>")[0]
    made = {path.name for path in (root / "figures").glob("*.png")}
    assert {"gallery.png", "curves.png"} <= made
