"""The data stage on folders of photographs: tables, splits, and bad input with its lines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spacy
from PIL import Image
from spacy.language import Language
from spacy.tokens import Doc

from camground.data.boxes import fit_box
from camground.data.photographs import read_photograph
from camground.data.readers.folder import chosen_by_hash
from camground.study.errors import UserError
from data_stage import run_data
from photograph_folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_captions_train_and_boxes_evaluate(folder: Folder) -> None:
    folder.run()
    images, expressions = folder.table("images"), folder.table("expressions")
    assert set(images.split) == {"train", "val", "test"}
    assert (images.width == 40).all()
    assert (images.height == 30).all()
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in images.path)
    assert expressions.expression_id.is_unique
    assert set(expressions.image_id) == set(images.image_id)
    split = images.set_index("image_id").split
    assert (expressions.split == expressions.image_id.map(split)).all()
    trained = expressions[expressions.image_id == "train0.jpg"]
    assert list(trained[trained.kind == "sentence"].text) == [
        "A brown dog runs on the grass .",
        "The brown dog in a red coat .",
    ]
    assert list(trained[trained.kind == "phrase"].text) == ["brown dog", "grass", "red coat"]
    # boxes belong to test phrases and to nothing else
    tested = expressions[expressions.split == "test"]
    assert set(tested.kind) == {"phrase"}
    targets = folder.table("targets")
    assert set(targets.expression_id) == set(tested.expression_id)
    assert np.allclose(np.stack(targets.boxes_xyxy[0]), [[1, 2, 11, 14.5]])
    assert folder.rejected() == []


def test_the_same_folder_gives_the_same_tables(folder: Folder, tmp_path: Path) -> None:
    folder.run()
    first = {path.name: path.read_bytes() for path in folder.out.iterdir()}
    folder.run()
    assert first == {path.name: path.read_bytes() for path in folder.out.iterdir()}


def test_adding_photographs_moves_no_other_between_splits() -> None:
    few = [f"{number}.jpg" for number in range(200)]
    more = [f"other/{number}.jpg" for number in range(300)]
    before = chosen_by_hash(few, 0.1, "captions", 0)
    assert before == chosen_by_hash(more + few, 0.1, "captions", 0) & set(few)
    assert 5 < len(before) < 40
    assert before != chosen_by_hash(few, 0.1, "captions", 1)
    assert len(chosen_by_hash(few[:3], 1e-9, "captions", 0)) == 1
    assert chosen_by_hash(few, 0.0, "captions", 0) == set()


def test_rows_of_one_phrase_are_boxes_of_one_expression(folder: Folder) -> None:
    folder.phrases += [
        ["test0.png", "Red  ball", "20", "2", "10", "12"],
        ["test0.png", "red ball", "1", "2", "10", "12.5"],
        ["test0.png", "sky", "0", "0", "40", "10"],
    ]
    folder.run()
    boxes = folder.table("targets").set_index("expression_id").boxes_xyxy
    assert [len(boxes[f"test0.png#p{number}"]) for number in range(2)] == [2, 1]
    assert len(folder.table("expressions").query("text == 'red ball'")) == 3


def test_rare_and_surplus_phrases_are_left_out(folder: Folder) -> None:
    folder.captions.append(["train0.jpg", "A purple zeppelin ."])
    folder.run(min_phrase_count=2, max_phrases_per_image=2)
    phrases = folder.table("expressions").query("kind == 'phrase' and split != 'test'")
    assert "purple zeppelin" not in set(phrases.text)
    # the one named in both captions is kept first
    assert set(phrases.text) == {"brown dog", "grass"}


def test_some_photographs_with_phrases_can_choose(folder: Folder) -> None:
    folder.run(phrases_val_share=0.01)
    expressions, targets = folder.table("expressions"), folder.table("targets")
    targeted = expressions[expressions.expression_id.isin(targets.expression_id)]
    assert sorted(targeted.split) == ["test", "test", "val"]
    # the noun phrases of val's captions have none
    phrases = expressions[expressions.kind == "phrase"]
    assert (phrases.boxed == phrases.expression_id.isin(targets.expression_id)).all()
    assert set(phrases[phrases.split == "val"].boxed) == {True, False}
    assert expressions[expressions.kind == "sentence"].boxed.isna().all()


def test_a_photograph_with_captions_and_boxes_is_not_trained_on(folder: Folder) -> None:
    folder.phrases.append(["train3.jpg", "brown dog", "0", "0", "5", "5"])
    folder.run()
    rows = folder.table("expressions").query("image_id == 'train3.jpg'")
    assert list(zip(rows.kind, rows.split, strict=True)) == [("phrase", "test")]


def test_without_phrases_there_is_an_empty_targets_table(folder: Folder) -> None:
    folder.run()
    (folder.root / "phrases.csv").unlink()
    folder.run(write=False)
    assert folder.table("targets").empty
    assert "test" not in set(folder.table("images").split)


def test_bad_rows_are_collected_with_their_lines(folder: Folder) -> None:
    truncated = folder.root / "images" / "train1.jpg"
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    (folder.root / "images" / "train2.jpg").write_text("no photograph")
    folder.captions[1][1] = "A dog\nover two lines"
    folder.captions += [["gone.jpg", "A dog ."], ["train0.jpg", " "], ["train0.jpg", "..."]]
    folder.captions += [["../train0.jpg", "A dog ."], ["train0.jpg"]]
    for box in (
        ["35", "0", "10", "10"],
        ["x", "0", "1", "1"],
        ["0", "0", "0", "5"],
        ["nan", "0", "5", "5"],
        ["-30", "0", "10", "10"],
    ):
        folder.phrases.append(["test0.png", "ball", *box])
    folder.phrases.append(["test0.png", "", "0", "0", "5", "5"])
    folder.run(share=0.9)
    rows = folder.rejected()
    lines = {(file, row): reason for file, row, reason in rows}
    assert len(lines) == len(rows) == 17
    # the quoted line break moves every later row of captions.csv down by one
    assert lines["captions.csv", 23] == "no such photograph"
    assert lines["captions.csv", 24] == "empty caption"
    assert lines["captions.csv", 25].startswith("empty caption")
    assert "images folder" in lines["captions.csv", 26]
    assert "1 fields, expected 2" in lines["captions.csv", 27]
    assert "truncated" in lines["captions.csv", 5]
    assert "truncated" in lines["captions.csv", 6]
    assert "truncated" in lines["train1.jpg", 0]
    assert lines["train2.jpg", 0].startswith("unreadable")
    assert "outside" in lines["phrases.csv", 5]
    assert "not four numbers" in lines["phrases.csv", 6]
    assert "positive" in lines["phrases.csv", 7]
    assert "finite" in lines["phrases.csv", 8]
    assert "outside" in lines["phrases.csv", 9]
    assert lines["phrases.csv", 10] == "empty phrase"
    # nothing of a damaged photograph is left
    assert not {"train1.jpg", "train2.jpg", "gone.jpg"} & set(folder.table("images").image_id)
    assert len(folder.table("targets")) == 3


def test_too_many_rejected_rows_stop_the_run_and_are_kept(folder: Folder) -> None:
    folder.captions.append(["gone.jpg", "A dog ."])
    with pytest.raises(UserError) as raised:
        folder.run(share=0.01)
    message = str(raised.value)
    for part in ("captions.csv, line 22", "gone.jpg", "1 of ", "data.max_rejected_share", "1.00%"):
        assert part in message
    listed = pd.read_csv(folder.out / "rejected.csv")
    assert list(listed.row) == [22]
    assert len(folder.table("rejected")) == 1
    assert not (folder.out / "images.parquet").exists()
    folder.run(share=0.1)
    assert not (folder.out / "rejected.csv").exists()


def test_bytes_and_quotes_out_of_place_are_rows_of_their_own(folder: Folder) -> None:
    folder.run()
    path = folder.root / "captions.csv"
    good = path.read_bytes()
    bad = b"train0.jpg,caf\xe9\r\n" + b'train0.jpg,"a "big" dog"\r\n' + b"train0.jpg,a dog, a cat\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + good + bad + b"\r\ntrain0.jpg,A cat .\r\n")
    folder.run(share=0.5, write=False)
    assert [row for _, row, _ in folder.rejected()] == [22, 23, 24]
    assert "A cat ." in set(folder.table("expressions").text)
    path.write_bytes(good + b'train0.jpg,"a dog\r\n')
    with pytest.raises(UserError, match=r"captions\.csv.*line 22.*never closed"):
        folder.run(write=False)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((-1, -0.5, 41, 31), (0, 0, 40, 30)),
        ((5, 5, 40.004, 30), (5, 5, 40, 30)),
        ((-1.1, 0, 10, 10), None),
        ((0, 0, 10, 31.5), None),
        ((40.2, 0, 40.9, 5), None),
    ],
)
def test_a_box_may_overhang_by_a_pixel(box: tuple, expected: tuple | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="outside"):
            fit_box(box, 40, 30)
    else:
        assert fit_box(box, 40, 30) == expected


def test_what_is_missing_is_named(folder: Folder) -> None:
    folder.run()
    for kind in ("folder", "refer", "flickr30k"):
        with pytest.raises(UserError, match=rf"data_root: is not set; data\.kind is {kind}"):
            run_data(folder.out, kind)
        with pytest.raises(UserError, match=r"data_root: no folder .*nowhere"):
            run_data(folder.out, kind, folder.root / "nowhere")
    with pytest.raises(UserError, match=r"none: no such folder.*data\.folder\.images"):
        folder.run(images="images/none")
    with pytest.raises(UserError, match=r"words\.csv: no such file.*data\.folder\.captions"):
        folder.run(captions="words.csv")
    with pytest.raises(UserError, match="val_share"):
        folder.run(val_share=1.0)
    (folder.root / "captions.csv").write_text("image;caption\na.jpg;b\n")
    with pytest.raises(UserError, match=r"captions\.csv: no column image, caption"):
        folder.run(write=False)


@Language.component("camground_test_last_word")
def last_word(document: Doc) -> Doc:
    """Every word hangs on the last one, a noun and the subject: one chunk a caption."""
    for token in document:
        final = token.i == len(document) - 1
        token.pos_, token.dep_ = ("NOUN", "nsubj") if final else ("ADJ", "amod")
        token.head = document[len(document) - 1]
    return document


def test_a_spacy_pipeline_by_its_path_makes_the_phrases(folder: Folder, tmp_path: Path) -> None:
    made = spacy.blank("en")
    made.add_pipe("camground_test_last_word")
    made.to_disk(tmp_path / "pipeline")
    folder.captions.append(["train0.jpg", "sleepy walking zebra"])
    folder.run(spacy_model=str(tmp_path / "pipeline"))
    texts = set(folder.table("expressions").query("kind == 'phrase'").text)
    # the splitter would not join these three
    assert "sleepy walking zebra" in texts
    with pytest.raises(UserError, match=r"data\.folder\.spacy_model"):
        folder.run(spacy_model=str(tmp_path / "no_pipeline"))


@pytest.mark.photographs
@pytest.mark.skipif("CAMGROUND_PHOTOS" not in os.environ, reason="CAMGROUND_PHOTOS names no folder")
def test_real_photographs(tmp_path: Path) -> None:
    real = Folder(tmp_path)
    real.root = Path(os.environ["CAMGROUND_PHOTOS"])
    real.run(write=False, val_share=0.05, min_phrase_count=2)
    assert real.rejected() == []
    images, targets = real.table("images"), real.table("targets")
    expressions = real.table("expressions")
    sizes = images.set_index("image_id")
    owner = expressions.set_index("expression_id").image_id
    for row in targets.itertuples():
        boxes, size = np.stack(row.boxes_xyxy), sizes.loc[owner[row.expression_id]]
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= size.width).all()
        assert (boxes[:, 3] <= size.height).all()
    # an evaluation phrase should be the kind of text that training sees
    trained = set(expressions.query("kind == 'phrase' and split == 'train'").text)
    tested = expressions[expressions.expression_id.isin(targets.expression_id)].text
    assert tested.isin(trained).mean() > 0.6


def test_boxes_are_in_pixels_of_the_upright_photograph(folder: Folder) -> None:
    """A phone stores what is 30 x 40 upright as 40 x 30, and EXIF says how to turn it."""
    upright = np.full((40, 30, 3), 110, np.uint8)
    upright[25:37, 4:14] = (220, 30, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder.root / "images" / "test0.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(path, exif=exif)
    folder.phrases[1:] = [["test0.png", "red square", "4", "25", "10", "12"]]
    folder.run()
    row = folder.table("images").set_index("image_id").loc["test0.png"]
    assert (row.width, row.height) == (30, 40)
    (box,) = folder.table("targets").boxes_xyxy[0]
    x1, y1, x2, y2 = map(int, box)
    assert (np.asarray(read_photograph(path))[y1:y2, x1:x2] == (220, 30, 30)).all()
    assert folder.rejected() == []
