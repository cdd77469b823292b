"""Proposals from a file of detections: its forms, whose boxes they are, and what is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from camground.proposals.config import ProposalsConfig
from camground.proposals.image_ids import number_in
from camground.study import tables
from camground.study.errors import UserError
from proposals_stage import boxes_of, labels_of, run_proposals, write_images

# as REFER names COCO's and SAIAPR's, and one without a number
NAMES = ["COCO_train2014_000000000123.jpg", "sub/45.jpg", "shore.jpg"]
SIZES = [(100, 50), (80, 80), (64, 40)]
FIRST, SECOND = [10.0, 5.0, 30.0, 20.0], [50.0, 10.0, 40.0, 35.5]  # xywh
FIRST_XYXY, SECOND_XYXY = [10.0, 5.0, 40.0, 25.0], [50.0, 10.0, 90.0, 45.5]


def detection(image_id: object, box: object = None, score: object = 0.5, **more: object) -> dict:
    return {
        "image_id": image_id,
        "category_id": 1,
        "bbox": FIRST if box is None else box,
        "score": score,
        **more,
    }


# every image once, the first twice
DETECTIONS = [
    detection(123, FIRST, 0.25),
    detection(45, [0, 0, 8, 8], 0.5),
    detection("shore.jpg", [1, 2, 3, 4], 1.0),
    detection(123, SECOND, 0.75, segmentation={"size": [50, 100], "counts": "abc"}),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The table alone: of a file of boxes no photograph is opened. The data set of REFER has names as ids and
    absolute paths, a folder the like."""
    return write_images(tmp_path, dict(zip(NAMES, SIZES, strict=True)), above="/data/photos/")


def section(path: Path | str | None, share: float = 0.0, **changes: object) -> dict:
    given = {"path": None if path is None else str(path), "max_rejected_share": share}
    return {"method": "boxes_file", "boxes_file": given, **changes}


def run(images: Path, content: object, share: float = 0.0, **changes: object) -> pd.DataFrame:
    """The table that the stage writes of a file with `content`, JSON or text."""
    path = images.with_name("dets.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    rejected = images.with_name("rejected.parquet")
    return run_proposals(images, section(path, share, **changes), rejected=rejected)


def refused(images: Path) -> list[tuple[int, str, str]]:
    table = tables.read("rejected", images.with_name("rejected.parquet"))
    return list(zip(table["row"], table["value"], table["reason"], strict=True))


def found(table: pd.DataFrame, image_id: str) -> dict[str, list]:
    boxes, scores, sources = boxes_of(table, image_id)
    return {"boxes": boxes.tolist(), "scores": scores.tolist(), "from": sources}


def as_mattnet(entries: list[dict]) -> list[dict]:
    return [
        {
            "det_id": number,
            "box": entry["bbox"],
            "category_name": "person",
            **{key: entry[key] for key in ("image_id", "category_id", "score")},
        }
        for number, entry in enumerate(entries)
    ]


def as_data_set(entries: list[dict]) -> dict:
    """COCO's own form, with ids that are nothing but this file's."""
    own = {123: 7, 45: 8, "shore.jpg": 9}
    names = ["COCO_train2014_000000000123.jpg", "45.jpg", "photos/shore.jpg"]
    return {
        "info": {},
        "images": [{"id": 7 + place, "file_name": name} for place, name in enumerate(names)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{**entry, "image_id": own[entry["image_id"]]} for entry in entries],
    }


@pytest.mark.parametrize(
    "form",
    [
        lambda entries: entries,
        as_mattnet,
        lambda entries: {"dets": as_mattnet(entries)},
        lambda entries: {"detections": entries},
        as_data_set,
    ],
    ids=["coco", "mattnet list", "mattnet", "detections", "data set"],
)
def test_all_forms_of_the_file_give_the_same_proposals(form, images: Path) -> None:
    table = run(images, form(DETECTIONS))
    source = "boxes_file:dets.json"
    assert table["image_id"].drop_duplicates().tolist() == NAMES
    assert found(table, NAMES[0]) == {
        "boxes": [SECOND_XYXY, FIRST_XYXY, [0, 0, 100, 50]],
        "scores": [0.75, 0.25, 0.0],
        "from": [source, source, "whole_image"],
    }
    assert found(table, NAMES[1])["boxes"] == [[0, 0, 8, 8], [0, 0, 80, 80]]
    assert found(table, NAMES[2])["boxes"] == [[1, 2, 4, 6], [0, 0, 64, 40]]
    assert refused(images) == []


@pytest.mark.parametrize(
    "image_id", [123, 123.0, "123", "000123", NAMES[0], NAMES[0][:-4], f"/data/photos/{NAMES[0]}"]
)
def test_an_image_is_found_by_number_or_by_name(image_id: object, images: Path) -> None:
    entries = [detection(image_id), detection("sub/45.jpg"), detection("/else/where/shore.jpg")]
    table = run(images, entries)
    assert (table["source"] == "boxes_file:dets.json").sum() == 3
    assert found(table, NAMES[0])["boxes"][0] == FIRST_XYXY


@pytest.mark.parametrize(
    ("form", "label"),
    [
        (lambda entries: entries, None),
        (as_mattnet, "person"),
        (lambda entries: {"dets": as_mattnet(entries)}, "person"),
        (as_data_set, "person"),
        (lambda entries: [{**entry, "category": "Alarm_clock"} for entry in entries], "alarm clock"),
        (lambda entries: [{**entry, "category_name": " "} for entry in entries], None),
    ],
    ids=["coco", "mattnet list", "mattnet", "data set", "category", "empty"],
)
def test_a_box_has_the_label_of_its_entry(form, label: str | None, images: Path) -> None:
    table = run(images, form(DETECTIONS))
    whole = table["source"] == "whole_image"
    assert labels_of(table[~whole]) == [label] * len(DETECTIONS)
    assert labels_of(table[whole]) == [None] * len(NAMES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"category_id": 9}, "none of the file's categories"),
        ({"category_id": [1]}, "none of the file's categories"),
        ({"category": 7}, "the category's name is no text"),
    ],
)
def test_a_label_that_cannot_be_read_is_refused(change: dict, reason: str, images: Path) -> None:
    content = as_data_set(DETECTIONS)
    content["annotations"][0] |= change
    run(images, content, share=0.3)
    ((row, value, why),) = refused(images)
    assert row == 1
    assert value.startswith(f"annotations[0].{next(iter(change))}: ")
    assert reason in why
    content["categories"] = [{"id": 1}]
    with pytest.raises(UserError, match=r"dets\.json: categories\[0\] lacks id or name; .* need no label"):
        run(images, content)


def test_the_number_is_that_at_the_end_of_the_name() -> None:
    names = ["COCO_train2014_000000581857.jpg", "38/images/38123.jpg", "a7b.png", "7.2.jpg"]
    assert [number_in(name) for name in names] == [581857, 38123, None, 2]


def test_boxes_are_treated_as_those_of_any_method(images: Path) -> None:
    near = [FIRST[0] + 1, *FIRST[1:]]
    entries = [
        detection(123, FIRST, 0.9),
        detection(123, near, 0.8),  # overlaps a better one
        detection(123, [60, 10, 1, 30], 0.7),  # thinner than min_size
        detection(123, [0, 0, 99, 50], 0.6),  # repeats the whole
        detection(123, [80, 0, 10, 40], 0.5),
        detection(123, [60, 0, 10, 40], 0.4),
        detection(45),
        detection("shore.jpg"),
    ]
    table = run(images, entries, count=3, min_size=0.05, nms_iou=0.6)
    assert found(table, NAMES[0]) == {
        "boxes": [FIRST_XYXY, [0, 0, 100, 50], [80, 0, 90, 40]],
        "scores": pytest.approx([0.9, 0.6, 0.5]),
        "from": ["boxes_file:dets.json", "whole_image", "boxes_file:dets.json"],
    }
    without = run(images, entries, count=3, min_size=0.05, nms_iou=0.6, whole_image=False)
    assert found(without, NAMES[0])["scores"] == pytest.approx([0.9, 0.5, 0.4])


def test_a_box_that_ends_a_pixel_over_the_edge_is_cut(images: Path) -> None:
    """MAttNet counts the last pixel in, so its widths are one larger."""
    entries = [detection(123, [60, -0.5, 41, 30]), *DETECTIONS[1:3]]
    table = run(images, entries)
    assert found(table, NAMES[0])["boxes"][0] == [60, 0, 100, 29.5]


@pytest.mark.parametrize(
    ("bad", "key", "reason"),
    [
        (detection(123, [90, 10, 30, 20]), "bbox", "outside its image of 100 x 50"),
        (detection(123, [500, 500, 9, 9]), "bbox", "outside its image"),
        (detection(123, [1, 2, float("nan"), 4]), "bbox", "not finite"),
        (detection(123, [1, 2, float("inf"), 4]), "bbox", "not finite"),
        (detection(123, [1, 2, 0, 4]), "bbox", "no positive width"),
        (detection(123, [1, 2, 3]), "bbox", "not four numbers"),
        (detection(123, "box"), "bbox", "not four numbers"),
        ({"image_id": 123, "score": 1}, "bbox", "not four numbers"),
        ({"image_id": 123, "box": [1, 2, 0, 4], "score": 1}, "box", "no positive width"),
        (detection(123, FIRST, float("nan")), "score", "not a number from 0 to 1"),
        (detection(123, FIRST, 98.5), "score", "not a number from 0 to 1"),
        (detection(123, FIRST, "high"), "score", "not a number from 0 to 1"),
        (detection(123, FIRST, None), "score", "not a number from 0 to 1"),
        (detection(123, FIRST, True), "score", "not a number from 0 to 1"),
        (detection(None), "image_id", "no whole number and no text"),
        (detection(1.5), "image_id", "no whole number and no text"),
        ({"bbox": FIRST, "score": 1}, "", "no image_id"),
        (7, "", "no image_id"),
    ],
)
def test_entries_that_cannot_be_used_are_counted_and_listed(
    bad: object, key: str, reason: str, images: Path
) -> None:
    content = {"dets": [*DETECTIONS, bad]}
    table = run(images, content, share=0.2)
    assert len(table) == len(DETECTIONS) + len(NAMES)
    ((row, value, why),) = refused(images)
    assert row == 5
    assert value.startswith(f"dets[4].{key}: " if key else "dets[4]: ")
    assert reason in why
    images.with_name("proposals.parquet").unlink()
    with pytest.raises(UserError) as error:
        run(images, content, share=0.1)
    for part in ("dets.json, entry 5", reason, "1 of 5", "proposals.boxes_file.max_rejected_share"):
        assert part in str(error.value)
    assert not images.with_name("proposals.parquet").exists()
    assert images.with_name("rejected.csv").exists()


def test_images_of_other_studies_are_left_out(images: Path, caplog) -> None:
    caplog.set_level("INFO", "camground")
    others = [detection(999, [1, 1, 5000, 5000], 77), detection("else.jpg", [0, 0, 0, 0])]
    table = run(images, [*others, *DETECTIONS])
    assert len(table) == len(DETECTIONS) + len(NAMES)
    assert refused(images) == []
    assert re.search(r"2 images are not of this study, such as 'else\.jpg', 999", caplog.text)


def test_images_without_an_entry_stop_the_run_or_get_the_whole_image(images: Path, caplog) -> None:
    entries = [one for one in DETECTIONS if one["image_id"] != 45]
    with pytest.raises(UserError, match=r"1 of 3 images .*no entry, such as sub/45\.jpg.*max_rej"):
        run(images, entries, share=0.3)
    assert not images.with_name("proposals.parquet").exists()
    table = run(images, entries, share=0.4)
    assert found(table, NAMES[1]) == {"boxes": [[0, 0, 80, 80]], "scores": [0.0], "from": ["whole_image"]}
    assert "sub/45.jpg" in caplog.text


def test_an_image_that_the_file_lists_may_have_no_boxes(images: Path) -> None:
    content = as_data_set([one for one in DETECTIONS if one["image_id"] != 45])
    table = run(images, content)
    assert found(table, NAMES[1])["from"] == ["whole_image"]
    content["annotations"].append(detection(10))
    run(images, content, share=0.5)
    ((_, value, why),) = refused(images)
    assert value == "annotations[3].image_id: 10"
    assert "not in the file's list `images`" in why


def test_a_file_about_other_photographs_says_how_images_are_matched(images: Path) -> None:
    with pytest.raises(UserError) as error:
        run(images, [detection(7), detection(8)], share=1.0)
    for part in ("dets.json: none of its images", "such as 7", NAMES[0], "its number 123"):
        assert part in str(error.value)


def test_an_id_that_means_two_photographs_is_refused(tmp_path: Path) -> None:
    images = write_images(tmp_path, {"train_12.jpg": (50, 50), "val_12.jpg": (50, 50)})
    with pytest.raises(UserError, match=r"image_id 12 can be .*train_12\.jpg or .*val_12\.jpg"):
        run(images, [detection(12)], share=1.0)
    box = [1, 1, 5, 5]
    table = run(images, [detection("train_12.jpg", box), detection("val_12", box)])
    assert (table["source"] != "whole_image").sum() == 2


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('[{"image_id": 1, "bbox": [1, 2', r"dets\.json: truncated, or not JSON .*COCO"),
        ("", r"dets\.json: truncated, or not JSON"),
        ("3", r"dets\.json: it holds a int"),
        ({"boxes": [], "version": 1}, r"dets\.json: its keys are boxes, version, but .*dets"),
        ({"dets": {"1": []}}, r"dets\.json: its keys are dets"),
        ([], r"dets\.json: holds no detection"),
        ({"images": [{"id": 1}], "dets": DETECTIONS}, r"images\[0\] lacks id or file_name"),
        ({"images": 3, "dets": DETECTIONS}, r"images\[0\] lacks id or file_name"),
        ({"images": [{"id": [1], "file_name": "a"}], "dets": DETECTIONS}, r"images\[0\]\.id"),
    ],
)
def test_files_of_another_form_are_refused(content: object, named: str, images: Path) -> None:
    with pytest.raises(UserError, match=named):
        run(images, content)
    assert sorted(path.name for path in images.parent.glob("*parquet*")) == ["images.parquet"]


def test_the_true_boxes_of_a_data_set_are_not_taken_for_detections(images: Path) -> None:
    """REFER's instances.json has the same form, without scores."""
    truth = as_data_set(DETECTIONS)
    for entry in truth["annotations"]:
        del entry["score"]
    with pytest.raises(UserError, match=r"no entry has a score.*true boxes.*ground_truth"):
        run(images, truth)


def test_a_missing_file_or_table_is_named(images: Path) -> None:
    rejected = images.with_name("rejected.parquet")
    with pytest.raises(UserError, match=r"method is boxes_file: give --rejected"):
        run_proposals(images, section("nowhere.json"))
    with pytest.raises(UserError, match=r"boxes_file\.path: nowhere\.json: No such file"):
        run_proposals(images, section("nowhere.json"), rejected=rejected)
    with pytest.raises(UserError, match=r"method is selective_search: leave out --rejected"):
        run_proposals(images, {}, rejected=rejected)


def test_wrong_keys_are_named() -> None:
    for wrong, message in (
        (section(None), r"proposals: method is boxes_file, so set boxes_file\.path: a JSON file"),
        (section(""), r"proposals\.boxes_file\.path"),
        (section("a.json", 2), r"proposals\.boxes_file\.max_rejected_share"),
    ):
        with pytest.raises(UserError, match=message):
            ProposalsConfig.parse(wrong, "proposals")


@pytest.mark.workflow
def test_a_changed_file_runs_the_stage_again(workflow, tmp_path: Path) -> None:
    """Dry runs, beside outputs that look made: newer than all that they are made from, but the file."""
    boxes = tmp_path / "dets.json"
    boxes.write_text("[]")
    given = f"proposals={{method: boxes_file, boxes_file: {{path: {boxes}}}}}"

    def dry(*more: str):
        return workflow.dry(
            *("proposals", "--rerun-triggers", "mtime", *more),
            *("--config", f"results_dir={tmp_path}", given),
        )

    first = dry("--printshellcmds")
    assert first.jobs == {"data": 1, "proposals": 1}, first.text
    assert str(boxes) in first.text
    assert f"--rejected {tmp_path}/scenes/proposals/rejected.parquet" in first.text
    later = max(path.stat().st_mtime for path in workflow.folder.rglob("*")) + 10
    names = [f"data/{name}" for name in ("images", "expressions", "targets", "rejected")]
    for name in ("data/pictures", "proposals", "benchmarks"):
        (tmp_path / "scenes" / name).mkdir(parents=True)
    made = [f"{name}.parquet" for name in (*names, "proposals/proposals", "proposals/rejected")]
    made.append("benchmarks/proposals.tsv")
    for place, name in enumerate(["data/pictures", *made]):
        path = tmp_path / "scenes" / name
        if place:
            path.touch()
        os.utime(path, (later + place, later + place))
    assert dry().jobs == {}
    os.utime(boxes, (later + 100, later + 100))
    assert dry().jobs == {"proposals": 1}


def test_boxes_from_0_to_1_are_refused_with_file_and_key(images: Path) -> None:
    shares = [detection(entry["image_id"], [0.1, 0.2, 0.3, 0.4]) for entry in DETECTIONS]
    said = r"dets\.json \(proposals\.boxes_file\.path\): 4 of its 4 boxes are from 0 to 1"
    with pytest.raises(UserError, match=said):
        run(images, shares, share=1.0)


def test_images_that_lose_every_box_are_counted(images: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = run(images, [*DETECTIONS[:1], detection(45, [0, 0, -1, 8]), DETECTIONS[2]], share=0.5)
    assert found(table, NAMES[1])["from"] == ["whole_image"]
    assert "1 images lost every box, which were all rejected, such as sub/45.jpg" in caplog.text
    run(images, [*DETECTIONS[:1], detection(45, [0, 0, 1.5, 1.5]), DETECTIONS[2]], min_size=0.1)
    assert "every box of 2 of 3 images is too small (proposals.min_size)" in caplog.text


def test_ids_of_images_may_be_whole_floats(images: Path) -> None:
    content = as_data_set(DETECTIONS)
    for image in content["images"]:
        image["id"] = float(image["id"])
    assert len(run(images, content)) == 7
