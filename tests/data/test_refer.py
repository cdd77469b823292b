"""The data stage on REFER's own files: tables, splits, counts, and files that are not what they seem."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from benchmark_files import HEIGHT, WIDTH, photograph, refer_refusal, run_refer, small_refer
from camground.data.config import ReferConfig
from camground.data.readers.refer_files import PUBLISHED, Ref, differences
from data_stage import rejected, table


@pytest.fixture(autouse=True)
def one_photograph_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets of these tests have no more of val."""
    monkeypatch.setattr("camground.data.kinds.FEWEST", 1)


def test_splits_and_sentences_and_boxes(tmp_path: Path) -> None:
    refer = small_refer(tmp_path)
    other = refer.annotate(503, [1.0, 2.0, 10.0, 10.0], category_id=18)
    refer.annotate(503, [30.0, 2.0, 10.0, 10.0])
    run_refer(refer.write(), tmp_path / "out")
    images, expressions = table(tmp_path / "out", "images"), table(tmp_path / "out", "expressions")
    assert sorted(images.split) == ["testA", "testB", "train", "train", "train", "val"]
    assert list(images.image_id[:2]) == [f"COCO_train2014_{n:012d}.jpg" for n in (500, 501)]
    assert all(Path(path).is_file() for path in images.path)
    assert set(expressions.kind) == {"phrase"}
    assert expressions.expression_id.is_unique
    split = images.set_index("image_id").split
    assert (expressions.split == expressions.image_id.map(split)).all()
    of_val = expressions[expressions.split == "val"]
    assert list(of_val.text) == ["man in a red shirt", "left person 503"]

    targets = table(tmp_path / "out", "targets").set_index("expression_id")
    assert set(targets.index) == set(expressions.expression_id)
    target = targets.loc[of_val.expression_id.iloc[0]]
    assert np.allclose(np.stack(target.boxes_xyxy), [[8.5, 4.0, 28.75, 34.5]])
    assert target.category == "person"
    assert target.distractors == 1, f"one other person; {other} is a dog"
    assert len(target.objects_xyxy) == 3
    assert np.allclose(target.objects_xyxy[target.object_index], target.boxes_xyxy[0])
    mask = coco_mask.decode({"size": [HEIGHT, WIDTH], "counts": target["mask"]})
    assert mask[10, 15] == 1
    assert mask[40, 15] == mask[10, 40] == 0
    assert rejected(tmp_path / "out") == []


def test_referit_has_ids_of_text_and_photographs_in_folders(tmp_path: Path) -> None:
    refer = small_refer(tmp_path, "refclef", "berkeley").write()
    assert all(isinstance(ref["ann_id"], str) for ref in refer.refs)
    encoded = coco_mask.encode(np.asfortranarray(np.ones((HEIGHT, WIDTH), dtype=np.uint8)))
    refer.annotations[0]["segmentation"] = [{"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}]
    run_refer(refer.write(), tmp_path / "out")
    images = table(tmp_path / "out", "images")
    assert images.path[0].endswith("images/saiapr_tc-12/20/images/500.jpg")
    assert sorted(images.split) == ["test", "train", "train", "train", "val"]
    target = table(tmp_path / "out", "targets").iloc[0]
    counts = {"size": [HEIGHT, WIDTH], "counts": target["mask"]}
    assert coco_mask.area(counts) == HEIGHT * WIDTH
    assert np.allclose(target.boxes_xyxy[0], [8.5, 4.0, 28.75, 34.5])


def test_mixed_kinds_of_test_are_test(tmp_path: Path) -> None:
    refer = small_refer(tmp_path, "refclef", "unc")
    for number, split in enumerate(("testA", "testAB", "testC"), start=900):
        refer.add(split, number, ["the sky"])
    run_refer(refer.write(), tmp_path / "out")
    assert (table(tmp_path / "out", "images").split == "test").sum() == 4
    refer.add("validation", 950, ["the sea"])
    assert "split 'validation' of 1 refs" in refer_refusal(refer.write(), tmp_path / "other")


def test_refs_that_cannot_be_used_are_listed(tmp_path: Path) -> None:
    refer = small_refer(tmp_path)
    refer.refs[0]["ann_id"] = 999
    refer.add("train", 510, ["?", "a dog"])
    refer.add("train", 511, ["far out"], [60.0, 40.0, 40.0, 30.0])
    refer.add("train", 512, ["no width"], [6.0, 4.0, 0.0, 30.0])
    refer.add("train", 513, ["gone"])
    photograph(refer.photographs / "COCO_train2014_000000000514.jpg", width=30)
    refer.add("train", 514, ["another size"])
    photograph(refer.photographs / "COCO_train2014_000000000514.jpg", width=30)
    (refer.photographs / "COCO_train2014_000000000513.jpg").unlink()
    refer.refs.append({"ref_id": 77})
    refer.refs.append(refer.refs[1])
    refer.write()
    run_refer(refer, tmp_path / "out", share=1.0)
    rows = rejected(tmp_path / "out")
    assert [row for _, row, *_ in rows if row] == [len(refer.refs) - 1, 1, 9, 13, 7, 8, 10, 11]
    text = "\n".join(f"{file} {row} {value}: {reason}" for file, row, value, reason in rows)
    for message in (
        "{'ref_id': 77}: without ann_id, image_id, split, sentences",
        "refs(unc).p 1 ref 0: annotation 999: is not in instances.json",
        "refs(unc).p 9 ref 8: annotation 1000009: the box has no positive width and height",
        "refs(unc).p 13 ref 1: the ref comes twice",
        "COCO_train2014_000000000513.jpg 0 COCO_train2014_000000000513.jpg: no such photograph",
        "30 x 48 pixels, but instances.json has 64 x 48",
        "the box lies outside its image of 64 x 48 pixels",
        "its photograph cannot be used",
        "a sentence without a letter",
    ):
        assert message in text
    expressions = table(tmp_path / "out", "expressions")
    assert not {"far out", "no width", "gone", "another size"} & set(expressions.text)
    assert "a dog" in set(expressions.text)
    assert "rows were rejected" in refer_refusal(refer, tmp_path / "other", share=0.1)


def test_a_truncated_or_harmful_file_stops_with_its_name(tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    whole = refer.refs_file.read_bytes()
    refer.refs_file.write_bytes(whole[: len(whole) // 2])
    assert "refs(unc).p: truncated" in refer_refusal(refer, tmp_path / "out")
    refer.refs_file.write_bytes(pickle.dumps([{"ref_id": print}]))
    assert "may be harmful" in refer_refusal(refer, tmp_path / "out")
    refer.refs_file.write_bytes(pickle.dumps({"refs": []}))
    assert "holds no list of refs" in refer_refusal(refer, tmp_path / "out")
    refer.refs_file.unlink()
    (refer.refs_file.parent / "refs(google).p").write_bytes(whole)
    assert "refs files there: refs(google).p" in refer_refusal(refer, tmp_path / "out")

    refer.write()
    text = refer.instances_file.read_text()
    for broken, message in (
        (text[: len(text) // 2], "instances.json: truncated, or not JSON"),
        ('{"images": []}', "has no list `categories`"),
        (text.replace('"bbox"', '"box"', 1), "annotations[0] lacks one of"),
    ):
        refer.instances_file.write_text(broken)
        assert message in refer_refusal(refer, tmp_path / "out")


def test_counts_that_differ_are_told_by_split(tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    message = refer_refusal(refer, tmp_path / "out", check_counts=True)
    assert "refcoco(unc), as read from" in message
    assert "train refs: 42404 published, 3 here (-42401)" in message
    assert "train expressions: 120624 published, 6 here (-120618)" in message
    assert "testB refs: 1810 published, 1 here (-1809)" in message
    assert "data.refer.check_counts: false" in message


def test_counts_of_what_was_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as published passes; when a ref of it cannot be used, the report says how many are left."""
    published = {"train": (3, 6), "val": (1, 2), "testA": (1, 2), "testB": (1, None)}
    monkeypatch.setitem(PUBLISHED, ("refcoco", "unc"), published)
    refer = small_refer(tmp_path)
    run_refer(refer.write(), tmp_path / "out", check_counts=True)
    refer.refs[-2]["ann_id"] = 999
    message = refer_refusal(refer.write(), tmp_path / "other", check_counts=True, share=1.0)
    assert "refcoco(unc), prepared" in message
    assert "testA refs: 1 published, 0 here (-1)" in message
    assert "testA expressions: 2 published, 0 here (-2)" in message
    assert "train" not in message.split("published data set:")[1].split("Fewer")[0]


@pytest.mark.parametrize("key", PUBLISHED, ids="-".join)
def test_published_counts(key: tuple[str, str]) -> None:
    refs = [
        Ref(0, "", "", "", split, "", (("", "a"),) * (number == 0) * (expressions or 1))
        for split, (count, expressions) in PUBLISHED[key].items()
        for number in range(count)
    ]
    assert differences(*key, refs) == []
    refs.append(Ref(0, "", "", "", "test0", "", ()))
    assert differences(*key, refs) == ["  test0 refs: 0 published, 1 here (+1)"]


def test_published_counts_sum_up() -> None:
    """The totals that the papers name."""
    for key, total in ((("refcoco", "unc"), 50_000), (("refcocog", "umd"), 49_822)):
        assert sum(refs for refs, _ in PUBLISHED[key].values()) == total


def test_what_the_config_cannot_name(tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    assert "no such folder" in refer_refusal(refer, tmp_path / "out", images="images/coco")
    assert "no such file" in refer_refusal(refer, tmp_path / "out", dataset="refcoco+")
    default = ReferConfig()
    assert (default.check_counts, default.allow_leakage) == (True, False)


# Refs that somebody wrote for an own data set


@pytest.mark.parametrize("kind", [float, np.int64, np.float32, str])
def test_ids_of_other_types_are_the_same_ids(kind: type, tmp_path: Path) -> None:
    refer = small_refer(tmp_path).write()
    for ref in refer.refs:
        ref |= {key: kind(ref[key]) for key in ("ref_id", "image_id", "ann_id")}
    for protocol in (0, 2, 4):
        refer.refs_file.write_bytes(pickle.dumps(refer.refs, protocol))
        run_refer(refer, tmp_path / "out")
        assert len(table(tmp_path / "out", "targets")) == 2 * len(refer.refs)
    assert table(tmp_path / "out", "expressions").expression_id[0] == "0#0"


def test_malformed_refs_add_up_and_are_entries(tmp_path: Path) -> None:
    refer = small_refer(tmp_path)
    for ref in refer.refs:
        ref["sentences"] = [sentence["sent"] for sentence in ref["sentences"]]
    count = len(refer.refs)
    message = refer_refusal(refer.write(), tmp_path / "out", share=0.01)
    assert f"{count} of {count} rows were rejected, 100.00%" in message
    assert "refs(unc).p, entry 1: its sentences are not a list of dicts with a sent_id" in message
    refer.refs[0] |= {"image_id": 1.5, "sentences": []}
    assert "the id 1.5 is no whole number and no text" in refer_refusal(refer.write(), tmp_path / "out")


def test_boxes_from_0_to_1_are_refused(tmp_path: Path) -> None:
    refer = small_refer(tmp_path)
    for annotation in refer.annotations:
        annotation["bbox"] = [0.1, 0.2, 0.5, 0.5]
    message = refer_refusal(refer.write(), tmp_path / "out", share=1.0)
    assert "instances.json (data.refer.dataset): " in message
    assert "from 0 to 1" in message


def test_a_split_that_training_needs_is_missed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camground.data.kinds.FEWEST", 2)
    message = refer_refusal(small_refer(tmp_path).write(), tmp_path / "out")
    assert "1 usable photographs of split val have a phrase, and training needs at least 2" in message
    assert "data.refer.split_by" in message
