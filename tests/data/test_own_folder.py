"""What a person's own folder may hold: units, names, too few photographs, what is mended later."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from camground.study.errors import UserError
from photograph_folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def refusal(folder: Folder, **keys: object) -> str:
    with pytest.raises(UserError) as caught:
        folder.run(**keys)
    assert not (folder.out / "images.parquet").exists()
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_boxes_from_0_to_1_are_refused_with_file_and_key(share: float, folder: Folder) -> None:
    for row in folder.phrases[1:]:
        row[2:] = ["0.1", "0.2", "0.5", "1"]
    folder.phrases.append(["test0.png", "blue ball", "1", "2", "10", "12.5"])
    message = refusal(folder, share=share)
    assert "phrases.csv (data.folder.phrases): 3 of its 4 boxes are from 0 to 1" in message
    assert "multiply x and width by the photograph's width" in message


def test_one_box_from_0_to_1_is_a_rejected_row(folder: Folder) -> None:
    folder.phrases.append(["test0.png", "ball", "0.1", "0.2", "0.5", "0.5"])
    folder.run(share=0.1)
    ((_, line, reason),) = folder.rejected()
    assert line == 5
    assert "from 0 to 1" in reason


@pytest.mark.parametrize(
    "name", ["at 9.41.00\u202fAM.png", "v\u00a013.05.png", "my  photo.png", "\u5199\u771f\u3000\u4e00.png"]
)
def test_a_file_name_is_taken_as_it_stands(name: str, folder: Folder) -> None:
    folder.photograph(name)
    folder.captions.append([name, "A  brown\u00a0dog ."])
    folder.run()
    assert folder.rejected() == []
    texts = folder.table("expressions").query("image_id == @name")
    assert "A brown dog ." in set(texts.text), "of a text, white space does not count"


@pytest.mark.parametrize(
    ("given", "there"),
    [
        (unicodedata.normalize("NFC", "caf\u00e9.jpg"), unicodedata.normalize("NFD", "caf\u00e9.jpg")),
        ("images/train0.jpg", "train0.jpg"),
        ("TRAIN0.JPG", "train0.jpg"),
        ("sub\\seen.jpg", "sub/seen.jpg"),
        ("train0.png", "train0.jpg"),
        ("my photo.jpg", "my  photo.jpg"),
    ],
)
def test_a_name_that_is_not_found_gets_the_near_one(given: str, there: str, folder: Folder) -> None:
    (folder.root / "images" / "sub").mkdir()
    if not (folder.root / "images" / there).exists():
        folder.photograph(there)
    folder.captions.append([given, "A dog ."])
    folder.run(share=0.1)
    ((_, _, reason),) = folder.rejected()
    assert reason.startswith(f"no such photograph; there is {there!r}")
    assert ("normal form" in reason) == ("caf" in given)
    folder.captions[-1][0] = "nothing like it.jpg"
    folder.run(share=0.1)
    assert folder.rejected()[0][2] == "no such photograph"


def test_a_rejected_photograph_is_read_again_by_a_command_that_the_log_names(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.captions.append(["gone.jpg", "A dog ."])
    folder.run(share=0.1)
    assert "--forcerun data" in caplog.text


@pytest.mark.parametrize("photographs", [1, 3])
def test_too_few_photographs_are_refused_with_their_number(photographs: int, tmp_path: Path) -> None:
    message = refusal(Folder(tmp_path, captioned=photographs))
    assert f"captions.csv (data.folder.captions) has usable captions of {photographs} photographs" in message
    assert "at least 4" in message


def test_val_has_two_photographs_at_least(tmp_path: Path) -> None:
    few = Folder(tmp_path, captioned=4)
    few.run(val_share=0.05)
    assert sorted(few.table("images").query("split != 'test'").split) == ["train", "train", "val", "val"]
    assert "data.folder.val_share: 0.99 of 4 captioned photographs leaves" in refusal(
        Folder(tmp_path / "other", captioned=4), val_share=0.99
    )


def test_phrases_that_occur_too_seldom_are_refused_with_the_key(tmp_path: Path) -> None:
    once = Folder(tmp_path, captioned=12)
    words = ["dog", "cat", "horse", "cow", "sheep", "bird", "fish", "tree", "car", "bus", "train", "boat"]
    once.captions[1:] = [[f"train{number}.jpg", f"A {word} ."] for number, word in enumerate(words)]
    message = refusal(once, min_phrase_count=2)
    assert "0 of the " in message
    assert "set data.folder.min_phrase_count to 1" in message
    once.run(min_phrase_count=1)
    texts = once.table("expressions")
    assert set(texts[(texts.kind == "phrase") & (texts.split != "test")].text) == set(words)


def test_no_phrase_with_a_box_is_a_warning(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    del folder.phrases[1:]
    folder.run()
    assert "WARNING: no phrase has a box, so nothing is measured" in caplog.text
