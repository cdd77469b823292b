"""Labels of proposals through thinning and the table, and boxes of two methods together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camground.data.boxes import pairwise_iou
from camground.proposals.config import ProposalsConfig
from camground.proposals.proposer import Photograph, open_proposer
from camground.proposals.thinning import WHOLE, Proposals, filled_up, to_label, to_proposals
from proposals_stage import boxes_of, labels_of, run_proposals, write_images

SIZE = (100, 50)
BOXES = np.array([[0, 0, 20, 20], [1, 0, 20, 20], [40, 10, 60, 40], [0, 0, 99, 49]], dtype=float)


@pytest.mark.parametrize(
    ("name", "label"),
    [("Alarm_clock", "alarm clock"), ("  person ", "person"), ("", None), ("_", None), (None, None)],
)
def test_a_label_is_words(name: str | None, label: str | None) -> None:
    assert to_label(name) == label


def test_a_kept_box_keeps_its_own_label_and_the_whole_image_that_of_its_score() -> None:
    found = to_proposals(
        BOXES,
        np.array([0.5, 0.6, 0.4, 0.3]),
        "made",
        ProposalsConfig(),
        SIZE,
        labels=["cat", "dog", None, "sky"],
    )
    assert found.boxes_xyxy.tolist() == [BOXES[1].tolist(), BOXES[2].tolist(), [0, 0, *SIZE]]
    assert found.labels == ["dog", None, "sky"]
    assert found.objectness.tolist() == pytest.approx([0.6, 0.4, 0.3])
    bare = to_proposals(BOXES[:3], np.ones(3), "made", ProposalsConfig(), SIZE, labels=["cat", "dog", None])
    assert bare.labels == ["cat", None, None]


def made(boxes: list[list[float]], scores: list[float], source: str, **config: object) -> Proposals:
    section = ProposalsConfig.parse({"count": 4, **config})
    labels = [source] * len(boxes) if source == "own" else None
    return to_proposals(np.array(boxes), np.array(scores), source, section, SIZE, labels=labels)


OWN, NEAR, FREE, OTHER = [0, 0, 20, 20], [1, 0, 20, 20], [40, 10, 60, 40], [70, 10, 90, 40]


def test_the_own_boxes_come_first_and_what_overlaps_none_fills_up() -> None:
    own = made([OWN], [0.1], "own")
    more = made([NEAR, FREE, OTHER, [30, 0, 40, 10]], [0.9, 0.8, 0.6, 0.5], "more", count=9)
    both = filled_up(own, more, ProposalsConfig(count=4))
    assert both.sources == ["own", "more", "more", WHOLE]
    assert both.boxes_xyxy[:3].tolist() == [OWN, FREE, OTHER]
    assert both.labels == ["own", None, None, None]
    # scaled to at most the weakest of the own; no score of the whole image in either
    assert both.objectness.tolist() == pytest.approx([0.1, 0.08, 0.06, 0.0])
    full = filled_up(made([OWN, FREE, OTHER], [0.3, 0.2, 0.1], "own"), more, ProposalsConfig(count=4))
    assert full.sources == ["own", "own", "own", WHOLE]


def test_the_whole_image_is_the_methods_own_where_it_has_a_score() -> None:
    whole = [0, 0, 99, 49]
    own = made([OWN, whole], [0.4, 0.7], "own")
    both = filled_up(own, made([FREE], [0.5], "more"), ProposalsConfig(count=4))
    assert both.sources == [WHOLE, "own", "more"]
    assert both.labels == ["own", "own", None]
    assert both.objectness.tolist() == pytest.approx([0.7, 0.4, 0.2])


def test_where_the_method_finds_nothing_the_other_says_all() -> None:
    nothing, more = made([], [], "own"), made([FREE, [0, 0, 99, 49]], [0.5, 0.6], "more")
    both = filled_up(nothing, more, ProposalsConfig(count=4))
    assert both.sources == more.sources == [WHOLE, "more"]
    assert both.objectness.tolist() == more.objectness.tolist()
    without = ProposalsConfig(count=4, whole_image=False)
    bare = made([FREE], [0.5], "more", whole_image=False)
    assert filled_up(made([], [], "own", whole_image=False), bare, without).sources == ["more"]
    alone = made([], [], "more", whole_image=False)
    assert filled_up(made([], [], "own", whole_image=False), alone, without).sources == [WHOLE]


def test_the_stage_fills_up_a_file_of_boxes_and_writes_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 8, 3), dtype=np.uint8))
    small.resize((80, 50), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    images = write_images(tmp_path, {"a.png": (80, 50)})
    entry = {"image_id": "a.png", "bbox": [10, 10, 30, 30], "score": 0.5, "category_name": "dog"}
    (tmp_path / "dets.json").write_text(json.dumps([entry]))
    config = {"method": "boxes_file", "boxes_file": {"path": str(tmp_path / "dets.json")}, "count": 8}
    alone = run_proposals(images, config, rejected=tmp_path / "rejected.parquet")
    assert len(alone) == 2
    table = run_proposals(images, {**config, "fill_up": True}, rejected=tmp_path / "rejected.parquet")
    boxes, scores, sources = boxes_of(table, "a.png")
    assert sources[0] == "boxes_file:dets.json"
    assert set(sources[1:]) == {"selective_search", WHOLE}
    assert 2 < len(table) <= 8
    assert (np.diff(scores) <= 0).all()
    assert labels_of(table) == ["dog"] + [None] * (len(table) - 1)
    searched = [source == "selective_search" for source in sources]
    assert (pairwise_iou(boxes[:1], boxes[searched]) <= ProposalsConfig().nms_iou).all()


def test_selective_search_has_nothing_to_fill_up(tmp_path: Path) -> None:
    """So that a model's settings can be changed to it alone."""
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    photographs = [Photograph("a", str(tmp_path / "a.png"), (40, 40))]
    plain, filled = (
        next(open_proposer(ProposalsConfig(fill_up=fill_up)).propose(photographs))
        for fill_up in (False, True)
    )
    assert plain.sources == filled.sources
    assert np.array_equal(plain.boxes_xyxy, filled.boxes_xyxy)
