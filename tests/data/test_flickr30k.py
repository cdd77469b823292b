"""Flickr30k Entities: brackets, chains and boxes of its own files, and what is wrong with a copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark_files import (
    OBJECTS,
    SENTENCES,
    XML,
    flickr_photograph,
    photograph,
    small_flickr30k,
    xml_object,
)
from camground.data.readers.flickr30k import Phrase, parse_caption, read_boxes
from camground.study.errors import UserError
from data_stage import NAMES, rejected, run_data, table


@pytest.fixture(autouse=True)
def one_photograph_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets of these tests have no more of val."""
    monkeypatch.setattr("camground.data.kinds.FEWEST", 1)


def run(root: Path, out: Path, share: float = 0.0) -> dict[str, pd.DataFrame]:
    run_data(out, "flickr30k", root, share)
    return {name: table(out, name) for name in NAMES}


def reasons(out: Path) -> list[tuple[str, int, str]]:
    return [(file, row, reason) for file, row, _, reason in rejected(out)]


def test_brackets() -> None:
    caption = parse_caption("[/EN#12/people/other A man 's hat] , [/EN#0/notvisual who] waits .\r")
    assert caption.text == "A man 's hat , who waits ."
    assert caption.phrases == (
        Phrase("A man 's hat", "12", ("people", "other")),
        Phrase("who", "0", ("notvisual",)),
    )
    assert not caption.phrases[1].visual
    assert parse_caption("A dog runs .").phrases == ()


@pytest.mark.parametrize(
    "line",
    [
        "[/EN#1/people A man runs .",
        "A man] runs .",
        "[/EN#1/people A [/EN#2/other red] man] runs .",
        "[/EN#1 A man] runs .",
        "[/EN#x/people A man] runs .",
        "[/EN#1/people ] runs .",
        "[A man] runs .",
    ],
)
def test_wrong_brackets(line: str) -> None:
    with pytest.raises(ValueError, match="a bracket of no phrase"):
        parse_caption(line)


def test_boxes_and_chains(tmp_path: Path) -> None:
    boxes = read_boxes(flickr_photograph(tmp_path, "1"))
    assert boxes.size == (64, 48)
    # 1-based, the last pixel inside: 1 to 20 are the first twenty pixels
    assert boxes.boxes_of("1") == [(0, 0, 20, 40), (20, 2, 40, 48)]
    assert boxes.boxes_of("5") == [(20, 2, 40, 48)]
    assert len(boxes.objects) == 4, "the box of two chains is one object"
    # a scene, and a thing that is not to be seen
    assert boxes.boxes_of("3") == boxes.boxes_of("6") == boxes.boxes_of("99") == []


def test_the_tables(tmp_path: Path) -> None:
    small_flickr30k(tmp_path)
    written = run(tmp_path, tmp_path / "out")
    images, expressions = written["images"], written["expressions"]
    assert dict(zip(images.image_id, images.split, strict=True)) == {
        "1000092795.jpg": "train",
        "10002456.jpg": "train",
        "1001465944.jpg": "val",
        "1007129816.jpg": "test",
    }
    tested = expressions[expressions.split == "test"]
    assert list(tested[tested.kind == "sentence"].text) == [
        "Two young guys with long hair in a yard .",
        "Two friends enjoy time with a dog .",
        "A man and two young guys stand by a hidden car .",
    ]
    phrases = tested[tested.kind == "phrase"].set_index("expression_id").text
    assert list(phrases) == [
        *("Two young guys", "long hair", "a yard"),
        *("Two friends", "a dog"),
        *("A man", "two young guys", "a hidden car"),
    ]
    trained = expressions[(expressions.image_id == "10002456.jpg") & (expressions.kind == "phrase")]
    assert "two young guys" not in set(trained.text), "the same words of a photograph are one pair"
    assert len(trained) == len(phrases) - 1

    targets = written["targets"].set_index("expression_id")
    mine = targets.loc[[name for name in phrases.index if name in targets.index]]
    assert [phrases[name] for name in mine.index] == [
        *("Two young guys", "long hair", "Two friends", "a dog", "A man", "two young guys")
    ], "neither a scene nor what is not to be seen has a target"
    first = mine.iloc[0]
    assert np.allclose(np.stack(first.boxes_xyxy), [[0, 0, 20, 40], [20, 2, 40, 48]])
    assert pd.isna(first.object_index), "two boxes are no single object"
    hair = mine.iloc[1]
    assert (hair.flavour, hair.category) == ("bodyparts", "bodyparts/other")
    assert np.allclose(hair.objects_xyxy[int(hair.object_index)], [4, 1, 12, 8])
    chain = [np.stack(mine.iloc[place].boxes_xyxy) for place in (0, 2, 5)]
    assert np.allclose(chain[0], chain[1])
    assert np.allclose(chain[0], chain[2]), "phrases of a chain mean the same boxes"
    assert reasons(tmp_path / "out") == []


def test_a_line_with_wrong_brackets_is_a_rejected_row(tmp_path: Path) -> None:
    folder = small_flickr30k(tmp_path)
    text = folder / "Sentences" / "1007129816.txt"
    text.write_bytes((SENTENCES + "[/EN#7/people A boy runs .\n").encode() + b"caf\xe9 .\n")
    written = run(tmp_path, tmp_path / "out", share=0.5)
    assert reasons(tmp_path / "out") == [
        (
            "1007129816.txt",
            4,
            "a bracket of no phrase [/EN#number/type words], at '[/EN#7/people A boy runs .'",
        ),
        ("1007129816.txt", 5, "not UTF-8"),
    ]
    expressions = written["expressions"]
    assert ((expressions.split == "test") & (expressions.kind == "sentence")).sum() == 3
    with pytest.raises(UserError, match=r"1007129816\.txt, line 4"):
        run(tmp_path, tmp_path / "other", share=0.01)


def test_files_of_a_photograph_that_cannot_be_used(tmp_path: Path) -> None:
    folder = small_flickr30k(tmp_path)
    names = [f"20{number}" for number in range(6)]
    for name in names:
        flickr_photograph(tmp_path, name)
    (folder / "train.txt").write_text("\n".join(["1000092795", *names]))
    whole = (folder / "Annotations" / "200.xml").read_text()
    (folder / "Annotations" / "200.xml").write_text(whole[:300])
    (folder / "Annotations" / "201.xml").unlink()
    (folder / "Sentences" / "202.txt").unlink()
    (folder / "flickr30k-images" / "203.jpg").write_bytes(b"no photograph")
    photograph(folder / "flickr30k-images" / "204.jpg", width=32)
    objects = "".join(
        [
            *OBJECTS[2:],
            xml_object([1], (30, 1, 20, 40)),
            xml_object([1], (1, 1, 200, 40)),
            "\t<object><bndbox></bndbox></object>\n",
            "\t<object><name>1</name><bndbox><xmin>a</xmin></bndbox></object>\n",
        ]
    )
    (folder / "Annotations" / "205.xml").write_text(
        XML.format(name="205", width=64, height=48, objects=objects)
    )
    written = run(tmp_path, tmp_path / "out", share=1.0)
    reasons_of = {(file, row): [] for file, row, _ in reasons(tmp_path / "out")}
    for file, row, reason in reasons(tmp_path / "out"):
        reasons_of[file, row].append(reason)
    assert "truncated, or not XML" in reasons_of["200.xml", 0][0]
    assert reasons_of["201.xml", 0] == reasons_of["202.txt", 0] == ["no such file"]
    assert "unreadable" in reasons_of["203.jpg", 0][0]
    assert reasons_of["204.xml", 0] == ["made for 64 x 48 pixels, but the photograph has 32 x 48"]
    assert reasons_of["205.xml", 0] == [
        "object 5: its box 30, 1, 20, 40 ends before it begins",
        "object 6: the box lies outside its image of 64 x 48 pixels",
        "object 7: its <name> is no chain number",
        "object 8: <xmin> holds 'a', not a whole number",
    ]
    images = written["images"]
    assert set(images[images.split == "train"].image_id) == {"1000092795.jpg", "205.jpg"}
    texts = written["expressions"].set_index("expression_id").text
    boxed = texts[[name for name in written["targets"].expression_id if name.startswith("205")]]
    assert list(boxed) == ["long hair", "a dog"], "no box of chain 1 is left"


def test_a_bomb_in_the_xml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xml"
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    path.write_text(f'<!DOCTYPE x [<!ENTITY a0 "{"x" * 1000}">{levels}]><annotation>&a9;</annotation>')
    with pytest.raises(ValueError, match="truncated, or not XML"):
        read_boxes(path)


def test_split_files(tmp_path: Path) -> None:
    folder = small_flickr30k(tmp_path)
    listed = (folder / "test.txt").read_text()
    (folder / "test.txt").write_text(listed + "10002456\n")
    with pytest.raises(UserError, match="photograph 10002456 is in split train too"):
        run(tmp_path, tmp_path / "out")
    (folder / "test.txt").write_text("../secret\n")
    with pytest.raises(UserError, match="no id of a photograph"):
        run(tmp_path, tmp_path / "out")
    (folder / "test.txt").unlink()
    with pytest.raises(UserError, match=r"test\.txt: cannot be read"):
        run(tmp_path, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"Sentences: no such folder.*data_root"):
        run(tmp_path / "elsewhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_boxes_of_other_chains_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sentences and Annotations that do not belong together."""
    folder = small_flickr30k(tmp_path)
    for path in (folder / "Sentences").glob("*.txt"):
        path.write_text(path.read_text().replace("/EN#", "/EN#9"))
    assert run(tmp_path, tmp_path / "out")["targets"].empty
    assert "WARNING: 4 of 4 photographs have boxes of no phrase in their captions" in caplog.text
    assert "WARNING: no phrase has a box" in caplog.text


def test_rejected_rows_add_up(tmp_path: Path) -> None:
    folder = small_flickr30k(tmp_path)
    for path in (folder / "Annotations").glob("*.xml"):
        path.unlink()
    for path in (folder / "Sentences").glob("*.txt"):
        path.write_text("[/EN#1 A man] runs .\n")
    with pytest.raises(UserError, match=r"8 of 8 rows were rejected, 100\.00%"):
        run(tmp_path, tmp_path / "out")


def test_a_photograph_under_a_near_name_is_named(tmp_path: Path) -> None:
    folder = small_flickr30k(tmp_path)
    photographs = folder / "flickr30k-images"
    (photographs / "10002456.jpg").rename(photographs / "10002456.JPG")
    with pytest.raises(UserError, match=r"no such photograph; there is '10002456\.JPG'"):
        run(tmp_path, tmp_path / "out")
