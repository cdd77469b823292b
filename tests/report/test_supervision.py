"""What entered as supervision: the statement follows the config, on the page and in a study's document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fake_study
from camground.report.document import document
from camground.report.supervision import SupervisionConfig, supervision
from camground.stages.config import StudyConfig
from report_page import write_page


def stated(val_boxes: int = 1200, labels: int = 0, **sections: Any) -> dict[str, str]:
    return supervision(SupervisionConfig.parse(sections), val_boxes, labels)


def test_the_default_study_has_swaps_objectness_and_imagenet_and_no_detector() -> None:
    facts = stated()
    assert "the scene's own facts decide, boxes among them" in facts["Sentences known to be false"]
    assert "fitted on pictures drawn" in facts["Proposals"]
    assert "ImageNet" in facts["Image network"]
    assert "own matcher" in facts["Teacher"]
    assert facts["Boxes of val"].endswith("1,200 expressions of val have a box here.")
    assert "detector" not in " ".join(facts.values())


@pytest.mark.parametrize(
    ("sections", "subject", "words"),
    [
        ({"data": {"kind": "folder"}}, "Images and sentences", "captions.csv cut into noun phrases by word"),
        ({"data": {"kind": "folder"}}, "Sentences known to be false", "None."),
        ({"data": {"kind": "refer"}}, "Images and sentences", "people wrote who were shown the object"),
        ({"data": {"kind": "flickr30k"}}, "Images and sentences", "annotators marked"),
        ({"data": {"scenes": {"swaps_per_expression": 0}}}, "Sentences known to be false", "None."),
        (
            {"matcher": {"swaps": 0}, "losses": {"matching_swaps": False}},
            "Sentences known to be false",
            "Read by the grounder's ranking of proposals.",
        ),
        (
            {"proposals": {"method": "detector", "detector": {"model": "some/detr"}}},
            "Proposals",
            "some/detr, which has learnt from boxes: this study is not free of them",
        ),
        (
            {"proposals": {"method": "boxes_file", "boxes_file": {"path": "found.json"}}},
            "Proposals",
            "another program found (found.json)",
        ),
        (
            {"gradcam": {"source": "blip", "model": "some/blip"}},
            "Teacher",
            "some/blip. BLIP has read captions",
        ),
        ({"gradcam": {"source": "clip", "model": "some/clip"}}, "Teacher", "pictures of the web"),
        ({"features": {"backbone": {"name": "timm/resnet18"}}}, "Image network", "random weights"),
        (
            {"features": {"backbone": {"name": "timm/resnet18", "checkpoint": "hub"}}},
            "Image network",
            "pretrained",
        ),
        ({"features": {"language": {"name": "some/bert"}}}, "Text network", "some/bert, pretrained"),
        ({"train": {"tuned": {"backbone": 2}}}, "Image network", "last 2 stages train along"),
        ({"tuning": {"stages": 3}}, "Image network", "last 3 stages were trained on the pairs before"),
        ({"data": {"kind": "refer"}}, "Boxes of val", "val photographs of Flickr30k Entities"),
        (
            {"evaluate": {"proposals": "ground_truth"}},
            "Boxes of the evaluated splits",
            "Training and the choice",
        ),
    ],
)
def test_it_follows_the_config(sections: dict[str, Any], subject: str, words: str) -> None:
    changed, default = stated(**sections), stated()
    assert words in changed[subject]
    assert words not in default[subject]


def test_it_says_that_the_names_of_categories_entered_and_for_whom() -> None:
    boxes = {"method": "boxes_file", "boxes_file": {"path": "found.json"}, "fill_up": True}
    unread = {"grounder": {"labels": {"enabled": False}}}
    taught = {"losses": {"distillation": {"label": 1.0}}}
    read = stated(labels=80, proposals=boxes)["Proposals"]
    assert "selective search's boxes follow" in read
    assert "the names of 80 categories, which the text network reads for the grounder's scores:" in read
    both = stated(labels=80, proposals=boxes, **taught)["Proposals"]
    assert "for the grounder's scores and the teacher:" in both
    assert "for the teacher:" in stated(labels=80, proposals=boxes, **taught, **unread)["Proposals"]
    for facts in (stated(labels=80, proposals=boxes, **unread), stated(labels=0, proposals=boxes)):
        assert "categories" not in facts["Proposals"]


def test_it_is_of_the_keys_of_a_study() -> None:
    """So that a key that a study renames cannot be missed here."""
    study = StudyConfig()
    for name in SupervisionConfig.model_fields:
        assert type(getattr(study, name)) is type(getattr(SupervisionConfig(), name))


def test_the_page_and_the_document_state_it(tmp_path: Path) -> None:
    root = fake_study.make(tmp_path / "toy")
    assert "supervision" not in document(root, "snakemake", "abc")
    proposals = {"method": "detector", "detector": {"model": "some/detr"}}
    page = write_page(root, tmp_path / "report.html", proposals=proposals)
    text = document(root, "snakemake", "abc")
    for shown in (page.split('<section id="supervision">')[1].split("</section>")[0], text):
        assert "What entered as supervision" in shown
        assert "some/detr, which has learnt from boxes" in shown
        assert "expressions of val have a box here" in shown
