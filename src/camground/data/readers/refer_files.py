"""REFER's `refs(<splitBy>).p`: which sentences mean which object, and whether it has the published counts.

Ids are numbers in the RefCOCO family and, for annotations, strings such as `8756_2` in ReferItGame;
here all of them are `str`. Numbers on another set than the published one cannot stand beside the published
ones: a file that broke off, or a copy with other splits, shows in its counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from camground.data.readers.inputs import has_word, plain_id
from camground.data.readers.plain_pickle import load_plain_pickle
from camground.data.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.schemas import SPLITS

# (dataset, split_by): refs (objects) of each split, and its expressions (sentences) where they are known;
# from REFER's README and the papers of the data sets
PUBLISHED: dict[tuple[str, str], dict[str, tuple[int, int | None]]] = {
    ("refcoco", "unc"): {
        "train": (42404, 120624),
        "val": (3811, 10834),
        "testA": (1975, 5657),
        "testB": (1810, 5095),
    },
    ("refcoco+", "unc"): {
        "train": (42278, 120191),
        "val": (3805, 10758),
        "testA": (1975, 5726),
        "testB": (1798, 4889),
    },
    ("refcocog", "umd"): {"train": (42226, 80512), "val": (2573, 4896), "test": (5023, 9602)},
    ("refcocog", "google"): {"train": (44822, None), "val": (5000, None)},
}
ADVICE = (
    "Fewer: the file broke off, or rows of it were rejected (see the lines above); other splits: another"
    " copy of the data. Get it again, or, for a subset whose numbers are not to be compared with published"
    " ones, set data.refer.check_counts: false."
)
REF_KEYS = ("ref_id", "ann_id", "image_id", "split", "sentences")


@dataclass(frozen=True, slots=True)
class Ref:
    """One referred object and its sentences. `row`: its number in the file, from 1."""

    row: int
    ref_id: str
    annotation_id: str
    image_id: str
    split: str
    file_name: str  # of a cut-out, with its annotation at the end; not the photograph's name
    sentences: tuple[tuple[str, str], ...]  # sent_id, which may come twice, and text; "" without a word


def refs_path(folder: Path, split_by: str) -> Path:
    """The refs file of a data set's folder; `UserError` when it is not there."""
    path = folder / f"refs({split_by}).p"
    if not path.is_file():
        others = ", ".join(sorted(file.name for file in folder.glob("refs(*).p"))) or "none"
        raise UserError(
            f"{path}: no such file (refs files there: {others}); put REFER's {folder.name} there, or"
            " set data_root, data.refer.dataset and data.refer.split_by"
        )
    return path


def _text(sentence: dict[str, Any]) -> str:
    """The cleaned sentence, else the one that was typed; empty when neither has a word."""
    for key in ("sent", "raw"):
        text = sentence.get(key)
        if isinstance(text, str) and has_word(text):
            return " ".join(text.split())
    return ""


def _ref(row: int, entry: Any) -> Ref:
    """A checked entry; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("not a dict")
    if missing := [key for key in REF_KEYS if key not in entry]:
        raise ValueError(f"without {', '.join(missing)}")
    sentences = entry["sentences"]
    if not isinstance(sentences, list) or not all(
        isinstance(sentence, dict) and "sent_id" in sentence for sentence in sentences
    ):
        raise ValueError("its sentences are not a list of dicts with a sent_id")
    if not isinstance(entry["split"], str):
        raise ValueError("its split is no text")
    ref_id, annotation_id, image_id = (plain_id(entry[key]) for key in REF_KEYS[:3])
    texts = tuple((str(sentence["sent_id"]), _text(sentence)) for sentence in sentences)
    file_name = str(entry.get("file_name", ""))
    return Ref(row, ref_id, annotation_id, image_id, entry["split"], file_name, texts)


def read_refs(path: Path, rejected: Rejected) -> list[Ref]:
    """The refs of a `refs(<splitBy>).p`; malformed ones go to `rejected`, numbered from 1. Raises
    `UserError`: the file is missing, damaged, not plain data, or not a list of refs."""
    entries = load_plain_pickle(path)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: holds no list of refs; get REFER's own file again")
    refs = []
    for row, entry in enumerate(entries, start=1):
        try:
            refs.append(_ref(row, entry))
        except ValueError as error:
            rejected.add(path, row, str(entry)[:200], error)
    return refs


def with_known_splits(refs: list[Ref], path: Path) -> list[Ref]:
    """The refs with splits of `SPLITS`; test refs of mixed kinds are all `test`, as REFER has it. Raises
    `UserError`: a split that is neither train, val nor a test."""
    counts = Counter(ref.split for ref in refs)
    unknown = [split for split in counts if split not in SPLITS]
    for split in unknown:
        if not split.startswith("test"):
            raise UserError(
                f"{path}: split {split!r} of {counts[split]} refs is none of {', '.join(SPLITS)}; get"
                " REFER's own file, or choose another data.refer.split_by"
            )
    if not unknown:
        return refs
    log.info("splits %s mix kinds of test: all test refs are split test", ", ".join(unknown))
    return [replace(ref, split="test") if ref.split.startswith("test") else ref for ref in refs]


def differences(dataset: str, split_by: str, refs: Iterable[Ref]) -> list[str]:
    """One line for every number that is not the published one. A sentence without a word counts too,
    though it is unusable."""
    published = PUBLISHED[dataset, split_by]
    counts: Counter[tuple[str, str]] = Counter()
    for ref in refs:
        counts[ref.split, "refs"] += 1
        counts[ref.split, "expressions"] += len(ref.sentences)
    return [
        f"  {split} {unit}: {expected} published, {count} here ({count - expected:+d})"
        for split in dict.fromkeys([*published, *sorted(split for split, _ in counts)])
        for unit, expected in zip(("refs", "expressions"), published.get(split, (0, 0)), strict=True)
        if expected is not None and expected != (count := counts[split, unit])
    ]


def check_counts(dataset: str, split_by: str, refs: Iterable[Ref], stage: str) -> None:
    """Compare with the published numbers, if there are any. stage: which refs these are, for the message.
    Raises `UserError`: a number differs; the message lists all that do."""
    name = f"{dataset}({split_by})"
    if (dataset, split_by) not in PUBLISHED:
        log.warning("%s: no published counts to compare with", name)
    elif lines := differences(dataset, split_by, refs):
        raise UserError("\n".join([f"{name}, {stage}: not the published data set:", *lines, ADVICE]))
    else:
        log.info("%s, %s: refs and expressions are the published ones", name, stage)
