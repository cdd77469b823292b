"""REFER's `refs(<splitBy>).p`, who says what of which object, and where the files of a data set lie.

Ids are numbers in the RefCOCO family and, for annotations, strings such as `8756_2` in ReferItGame;
here all of them are `str`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camground.data.readers import plain_pickle
from camground.data.readers.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.schemas import SPLITS

REF_KEYS = ("ref_id", "ann_id", "image_id", "split", "sentences")


@dataclass(frozen=True, slots=True)
class Sentence:
    sentence_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Ref:
    """One referred object and its sentences. `row`: its place in the file, the first being 1."""

    row: int
    ref_id: str
    annotation_id: str
    image_id: str
    split: str
    # REFER's name of a cut-out, with its annotation at the end; not the photograph's name
    file_name: str
    sentences: tuple[Sentence, ...]


def refs_path(folder: Path, split_by: str) -> Path:
    """The refs file of a data set's folder; `UserError` when it is not there."""
    path = folder / f"refs({split_by}).p"
    if not path.is_file():
        have = ", ".join(sorted(one.name for one in folder.glob("refs(*).p"))) or "none"
        raise UserError(
            f"{path}: no such file (refs files there: {have}); put REFER's {folder.name} there, or"
            " set data_root, data.refer.dataset and data.refer.split_by"
        )
    return path


def _text(sentence: dict[str, Any]) -> str:
    """The cleaned sentence, else what was typed."""
    for key in ("sent", "raw"):
        text = sentence.get(key)
        if isinstance(text, str) and any(letter.isalnum() for letter in text):
            return " ".join(text.split())
    return ""


def _ref(row: int, entry: Any) -> Ref:
    """A checked entry; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("not a dict")
    missing = [key for key in REF_KEYS if key not in entry]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    sentences = entry["sentences"]
    if not isinstance(sentences, list) or not all(
        isinstance(sentence, dict) and "sent_id" in sentence for sentence in sentences
    ):
        raise ValueError("its sentences are not a list of dicts with a sent_id")
    if not isinstance(entry["split"], str):
        raise ValueError("its split is no text")
    return Ref(
        row=row,
        ref_id=str(entry["ref_id"]),
        annotation_id=str(entry["ann_id"]),
        image_id=str(entry["image_id"]),
        split=entry["split"],
        file_name=str(entry.get("file_name", "")),
        sentences=tuple(Sentence(str(one["sent_id"]), _text(one)) for one in sentences),
    )


def read_refs(path: Path, rejected: Rejected) -> list[Ref]:
    """The refs of a `refs(<splitBy>).p`; malformed ones go to `rejected`, numbered from 1.

    Raises:
        UserError: the file is missing, damaged, not plain data, or not a list of refs.
    """
    entries = plain_pickle.load(path)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: holds no list of refs; get REFER's own file again")
    refs = []
    for row, entry in enumerate(entries, start=1):
        try:
            refs.append(_ref(row, entry))
        except ValueError as error:
            rejected.add(path, row, str(entry)[:200], f"a ref is {error}")
    return refs


def with_known_splits(refs: list[Ref], path: Path) -> list[Ref]:
    """The refs with splits of `SPLITS`; test refs of mixed kinds are all `test`, as REFER has it.

    Raises:
        UserError: a split that is neither train, val nor a test.
    """
    names = Counter(ref.split for ref in refs)
    unknown = [name for name in names if name not in SPLITS]
    strange = [name for name in unknown if not name.startswith("test")]
    if strange:
        raise UserError(
            f"{path}: split {strange[0]!r} of {names[strange[0]]} refs is none of"
            f" {', '.join(SPLITS)}; get REFER's own file, or choose another data.refer.split_by"
        )
    if unknown:
        log.info("splits %s mix kinds of test: all test refs are split test", ", ".join(unknown))
        return [replace(ref, split="test") if ref.split.startswith("test") else ref for ref in refs]
    return refs


class Sources:
    """The input files; `UserError` says which folder is not there."""

    def __init__(self, data_root: str | None, config: dict[str, Any]) -> None:
        if not data_root:
            raise UserError(
                "data.kind is refer, but data_root is not set; give the folder of the data sets, for"
                " example: snakemake --configfile configs/refcoco.yaml --config data_root=DIR"
            )
        self.root = Path(data_root).expanduser().absolute()
        self.folder = self.root / config["dataset"]
        self.refs = refs_path(self.folder, config["split_by"])
        self.instances = self.folder / "instances.json"
        self.images = self.root / config["images"]
        if not self.images.is_dir():
            raise UserError(
                f"{self.images}: no such folder; put the photographs there, or set"
                " data.refer.images to their folder inside data_root"
            )
