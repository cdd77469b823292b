"""A folder of photographs with `captions.csv` and, if there, `phrases.csv`, as the data tables.

Photographs with captions train (a share is kept for choosing by captions); photographs with phrases
and boxes evaluate. A photograph that has both only evaluates: its captions are left out, so that no
test photograph is trained on. Photographs are read where they lie and never copied.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camground.data.boxes import Box, fit_box
from camground.data.photographs import PhotographFile, inspect_all
from camground.data.readers import noun_phrases
from camground.data.readers.folder_files import (
    BoxedPhrase,
    Caption,
    Sources,
    read_captions,
    read_phrases,
)
from camground.data.readers.rejected import Rejected
from camground.data.readers.rows import expression_row, write_batches
from camground.study.errors import UserError
from camground.study.progress import log, track


@dataclass
class Pictured:
    """One photograph and what is said of it."""

    image_id: str
    size: PhotographFile
    split: str
    captions: list[str] = field(default_factory=list)
    # noun phrases of the captions: text -> captions it occurs in, in order of appearance
    mentions: Counter[str] = field(default_factory=Counter)
    boxed: dict[str, list[Box]] = field(default_factory=dict)


def hash_share(image_id: str, purpose: str, seed: int) -> float:
    """A number in [0, 1) from the arguments alone: adding photographs moves none of the others."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:{image_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def chosen(image_ids: Iterable[str], share: float, purpose: str, seed: int) -> set[str]:
    """The image ids whose hash is below `share`; at least one when `share` is above 0."""
    shares = {image_id: hash_share(image_id, purpose, seed) for image_id in image_ids}
    below = {image_id for image_id, value in shares.items() if value < share}
    if not below and share > 0 and len(shares) > 1:
        below = {min(shares, key=lambda image_id: shares[image_id])}
    return below


def _inspect(folder: Path, image_ids: list[str], rejected: Rejected) -> dict[str, PhotographFile]:
    """Every named photograph, decoded once. A damaged one is a rejected row of its own (row 0)."""
    paths = [folder / image_id for image_id in image_ids]
    found = {}
    for image_id, path, photograph in zip(image_ids, paths, inspect_all(paths), strict=True):
        found[image_id] = photograph
        if photograph.problem and path.exists():
            rejected.add(path, 0, image_id, photograph.problem)
    return found


def _keep_captions(
    rows: list[Caption], file: Path, photographs: dict[str, PhotographFile], rejected: Rejected
) -> dict[str, list[str]]:
    """Captions by image id, those of unusable photographs rejected."""
    kept: dict[str, list[str]] = {}
    for row in rows:
        problem = photographs[row.image_id].problem
        if problem:
            rejected.add(file, row.line, row.image_id, problem)
        else:
            kept.setdefault(row.image_id, []).append(row.text)
    return kept


def _keep_phrases(
    rows: list[BoxedPhrase], file: Path, photographs: dict[str, PhotographFile], rejected: Rejected
) -> dict[str, dict[str, list[Box]]]:
    """Boxes by image id and phrase; the rest is rejected. Case does not tell phrases apart."""
    kept: dict[str, dict[str, list[Box]]] = {}
    spelling: dict[tuple[str, str], str] = {}
    for row in rows:
        size = photographs[row.image_id]
        if size.problem:
            rejected.add(file, row.line, row.image_id, size.problem)
            continue
        try:
            box = fit_box(row.box_xyxy, size.width, size.height)
        except ValueError as error:
            x1, y1, x2, y2 = row.box_xyxy
            where = f"{row.image_id},{row.text},{x1:g},{y1:g},{x2 - x1:g},{y2 - y1:g}"
            rejected.add(file, row.line, where, str(error))
            continue
        text = spelling.setdefault((row.image_id, row.text.casefold()), row.text)
        own = kept.setdefault(row.image_id, {}).setdefault(text, [])
        # The same phrase of two captions comes with the same box twice.
        if box not in own:
            own.append(box)
    return kept


def _add_mentions(pictured: list[Pictured], spacy_model: str | None) -> None:
    """Fill `mentions` with the noun phrases of each photograph's captions."""
    extract = noun_phrases.extractor(spacy_model)
    texts = (text for one in pictured for text in one.captions)
    owners = (one for one in pictured for _ in one.captions)
    count = sum(len(one.captions) for one in pictured)
    log.info("noun phrases by %s", f"spaCy, {spacy_model}" if spacy_model else "stop words")
    for one, phrases in track(
        zip(owners, extract(texts), strict=True), "noun phrases", total=count
    ):
        one.mentions.update(dict.fromkeys(phrases, 1))


def _caption_rows(one: Pictured, frequent: Counter[str], config: dict[str, Any]) -> Iterator[dict]:
    """Expressions of a captioned photograph: its captions, then its most mentioned noun phrases.

    A phrase is numbered among all of the photograph's own, so its id does not depend on others.
    """
    for number, text in enumerate(one.captions):
        yield _expression(one, f"c{number}", text, "sentence")
    numbers = {text: number for number, text in enumerate(one.mentions)}
    # most_common is stable: among equals the first mentioned stay
    kept = [
        text
        for text, _ in one.mentions.most_common()
        if frequent[text] >= config["min_phrase_count"]
    ][: config["max_phrases_per_image"]]
    for text in kept:
        yield _expression(one, f"p{numbers[text]}", text, "phrase")


def _boxed_rows(one: Pictured) -> Iterator[dict]:
    for number, text in enumerate(one.boxed):
        yield _expression(one, f"p{number}", text, "phrase")


def _expression(one: Pictured, name: str, text: str, kind: str) -> dict:
    return expression_row(f"{one.image_id}#{name}", one.image_id, text, kind, one.split)


def _target_rows(one: Pictured) -> Iterator[dict]:
    unknown = ("mask", "flavour", "category", "distractors", "objects_xyxy", "object_index")
    for number, boxes_xyxy in enumerate(one.boxed.values()):
        yield {
            "expression_id": f"{one.image_id}#p{number}",
            "boxes_xyxy": boxes_xyxy,
            **dict.fromkeys(unknown),
        }


def _pictured(
    captions: dict[str, list[str]],
    boxed: dict[str, dict[str, list[Box]]],
    photographs: dict[str, PhotographFile],
    data: dict[str, Any],
) -> list[Pictured]:
    """The photographs in use with their splits, captioned ones first."""
    config, seed = data["folder"], data["seed"]
    both = captions.keys() & boxed.keys()
    if both:
        log.warning(
            "%d photographs have captions and phrases with boxes: they are for evaluation only, and"
            " their %d captions are left out of training",
            len(both),
            sum(len(captions[image_id]) for image_id in both),
        )
    trained = {image_id: texts for image_id, texts in captions.items() if image_id not in both}
    val = chosen(trained, config["val_share"], "captions", seed)
    phrases_val = chosen(boxed, config["phrases_val_share"], "phrases", seed)
    if not trained.keys() - val:
        raise UserError(
            "no photograph is left to train on: captions.csv has no usable caption of a photograph"
            " without boxes outside the validation split (data.folder.val_share is"
            f" {config['val_share']})"
        )
    pictured = []
    for image_id, texts in trained.items():
        split = "val" if image_id in val else "train"
        pictured.append(Pictured(image_id, photographs[image_id], split, captions=texts))
    for image_id, phrases in boxed.items():
        split = "val" if image_id in phrases_val else "test"
        pictured.append(Pictured(image_id, photographs[image_id], split, boxed=phrases))
    return pictured


def write(
    data: dict[str, Any],
    data_root: str | None,
    images: Path,
    expressions: Path,
    targets: Path,
    rejected: Path,
) -> None:
    """Read the folder `data_root` and write the tables images, expressions, targets and rejected.

    Args:
        data: config key `data`: `seed`, `max_rejected_share` and `folder`.
        data_root: folder with the images folder, captions.csv and, optionally, phrases.csv.

    Raises:
        UserError: a file or column is missing, nothing is left to train on, or more rows are
            rejected than `data.max_rejected_share` allows.
    """
    sources = Sources(data_root, data["folder"])
    refused = Rejected()
    caption_rows = list(read_captions(sources.captions, refused))
    phrase_rows = list(read_phrases(sources.phrases, refused)) if sources.phrases else []
    malformed = len(refused.rows)

    captioned = [row.image_id for row in caption_rows]
    named = list(dict.fromkeys(captioned + [row.image_id for row in phrase_rows]))
    photographs = _inspect(sources.images, named, refused)
    captions = _keep_captions(caption_rows, sources.captions, photographs, refused)
    boxed = {}
    if sources.phrases:
        boxed = _keep_phrases(phrase_rows, sources.phrases, photographs, refused)
    total = malformed + len(caption_rows) + len(phrase_rows) + len(named)
    refused.settle(total, data["max_rejected_share"], rejected)
    if sources.phrases and not boxed:
        log.warning("%s holds no usable phrase: there is nothing to measure", sources.phrases)

    pictured = _pictured(captions, boxed, photographs, data)
    _add_mentions(pictured, data["folder"]["spacy_model"])
    frequent: Counter[str] = Counter()
    for one in pictured:
        if one.split == "train":
            frequent.update(one.mentions)

    write_batches(
        "images",
        (
            {
                "image_id": one.image_id,
                "path": str(sources.images / one.image_id),
                "width": one.size.width,
                "height": one.size.height,
                "split": one.split,
            }
            for one in pictured
        ),
        images,
    )
    kinds: Counter[tuple[str, str]] = Counter()

    def all_expressions() -> Iterator[dict]:
        for one in pictured:
            rows = _boxed_rows(one) if one.boxed else _caption_rows(one, frequent, data["folder"])
            for row in rows:
                kinds[row["split"], row["kind"]] += 1
                yield row

    write_batches("expressions", all_expressions(), expressions)
    boxed_count = write_batches(
        "targets", (row for one in pictured for row in _target_rows(one)), targets
    )
    splits = Counter(one.split for one in pictured)
    for split, count in splits.items():
        log.info(
            "%s: %d photographs, %d sentences, %d phrases",
            split,
            count,
            kinds[split, "sentence"],
            kinds[split, "phrase"],
        )
    log.info("phrases with boxes: %d", boxed_count)
