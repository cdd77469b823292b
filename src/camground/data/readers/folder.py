"""A folder of photographs with `captions.csv` and, if there, `phrases.csv`, as the data tables.

Photographs with captions train (a share is kept for choosing by captions); photographs with phrases
and boxes evaluate. A photograph that has both only evaluates: its captions are left out, so that no
test photograph is trained on. Photographs are read where they lie and never copied.

captions.csv has the columns image, caption; phrases.csv has image, phrase, x, y, width, height: one
box per row, in pixels of the photograph, 0-based.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from camground.data.boxes import Box, SharesError, fit_box, refuse_shares, xywh_to_xyxy
from camground.data.config import DataConfig, FolderConfig
from camground.data.kinds import FEWEST, Outputs, Row, data_tables, expression_row, image_row, target_row
from camground.data.photographs import PhotographFile, inspect_all
from camground.data.readers.inputs import NearNames, existing_folder, has_word, inside_folder, read_csv_rows
from camground.data.readers.noun_phrases import phrase_extractor
from camground.data.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import log, track

BOX_COLUMNS = ("x", "y", "width", "height")


@dataclass(frozen=True)
class TextRow:
    """A row of captions.csv, or of phrases.csv, which has a box; `line`: where the row starts.

    Several rows of one phrase are several boxes of one expression.
    """

    image_id: str
    text: str
    line: int
    box_xyxy: Box | None


@dataclass
class FolderPhotograph:
    """One photograph in use, with its captions or its phrases with boxes."""

    image_id: str
    size: tuple[int, int]
    split: str
    captions: list[str] = field(default_factory=list)
    # noun phrases of the captions: text -> captions in which it occurs, in order of appearance
    mentions: Counter[str] = field(default_factory=Counter)
    phrases: dict[str, list[Box]] = field(default_factory=dict)


def write(config: DataConfig, data_root: Path, outputs: Outputs) -> None:
    """Write the tables of the folder `data_root`: the images folder, captions.csv and maybe phrases.csv.
    Raises `UserError`: a file or column is missing, nothing is left to train on, or more rows are rejected
    than `data.max_rejected_share` allows."""
    folder = config.folder
    captions_file, phrases_file, images = _source_files(data_root, folder)
    rejected = Rejected()
    caption_rows = list(_read_rows(captions_file, "caption", (), rejected))
    phrase_rows = list(_read_rows(phrases_file, "phrase", BOX_COLUMNS, rejected)) if phrases_file else []
    malformed = len(rejected.rows)

    image_ids = list(dict.fromkeys(row.image_id for row in [*caption_rows, *phrase_rows]))
    paths = [images / image_id for image_id in image_ids]
    inspected = dict(zip(image_ids, inspect_all(paths), strict=True))
    near = NearNames(images)
    for path, (image_id, file) in zip(paths, inspected.items(), strict=True):
        if file.problem and path.exists():
            rejected.add(path, 0, image_id, file.problem)  # a damaged one is a row of its own
        elif file.problem:
            inspected[image_id] = PhotographFile(problem=file.problem + near.advice(image_id))
    captions: dict[str, list[str]] = {}
    for row, _ in _usable(caption_rows, captions_file, inspected, rejected):
        captions.setdefault(row.image_id, []).append(row.text)
    phrases: dict[str, dict[str, list[Box]]] = {}
    spelling: dict[tuple[str, str], str] = {}  # case does not tell phrases apart
    for row, box in _usable(phrase_rows, phrases_file, inspected, rejected):
        text = spelling.setdefault((row.image_id, row.text.casefold()), row.text)
        boxes = phrases.setdefault(row.image_id, {}).setdefault(text, [])
        # The same phrase of two captions comes with the same box twice.
        if box and box not in boxes:
            boxes.append(box)
    total = malformed + len(caption_rows) + len(phrase_rows) + len(image_ids)
    rejected.settle(total, config.max_rejected_share, outputs.rejected)
    if phrases_file and not phrases:
        log.warning("%s holds no usable phrase: there is nothing to measure", phrases_file)

    photographs = _split(captions, phrases, inspected, config)
    _add_mentions(photographs, folder.spacy_model)
    trained = (photograph for photograph in photographs if photograph.split == "train")
    frequency = Counter(chain.from_iterable(photograph.mentions for photograph in trained))
    _check_phrases(photographs, frequency, folder)

    with data_tables(outputs) as tables:
        for photograph in photographs:
            image_id = photograph.image_id
            tables.add(
                image_row(image_id, images / image_id, photograph.size, photograph.split),
                list(_expressions(photograph, frequency, folder)),
                [
                    target_row(f"{image_id}#p{n}", boxes)
                    for n, boxes in enumerate(photograph.phrases.values())
                ],
            )


def _source_files(root: Path, config: FolderConfig) -> tuple[Path, Path | None, Path]:
    """captions.csv, phrases.csv where it is there (warns where not), and the folder of the images.

    `UserError` for what is missing below `root`.
    """
    phrases = root / config.phrases if config.phrases else None
    if phrases and not phrases.is_file():
        log.warning(
            "%s: not there, so there are no phrases with boxes: training runs, but there is"
            " nothing to measure; boxes are predicted for the photographs that are kept for choosing",
            phrases,
        )
        phrases = None
    advice = "put the photographs there, or set data.folder.images to the folder's name inside data_root"
    images = existing_folder(root / config.images, advice)
    captions = root / config.captions
    if not captions.is_file():
        raise UserError(
            f"{captions}: no such file; training needs a CSV file with the columns image and caption; put it"
            " there, or set data.folder.captions to its name in data_root"
        )
    return captions, phrases, images


def _read_rows(
    path: Path, column: str, box_columns: tuple[str, ...], rejected: Rejected
) -> Iterator[TextRow]:
    """The rows of a CSV file that are well formed; the others go to `rejected`. Raises `UserError`: its boxes
    are not in pixels."""
    boxes = shares = 0
    for line, values in read_csv_rows(path, ["image", column, *box_columns], rejected):
        text = values[column]
        try:
            image_id = inside_folder(values["image"])
            if not has_word(text):
                raise ValueError(f"empty {column}" + (": not a letter in it" if text else ""))
            boxes += 1
            box = xywh_to_xyxy(values[name] for name in box_columns) if box_columns else None
            yield TextRow(image_id, text, line, box)
        except ValueError as error:
            shares += isinstance(error, SharesError)
            rejected.add(path, line, ",".join(values.values()), error)
    refuse_shares(path, "data.folder.phrases", shares, boxes)


def _usable(
    rows: list[TextRow], source: Path | None, inspected: dict[str, PhotographFile], rejected: Rejected
) -> Iterator[tuple[TextRow, Box | None]]:
    """The rows of usable photographs, with the box cut to its photograph; the rest is rejected."""
    for row in rows:
        file = inspected[row.image_id]
        box, value, problem = row.box_xyxy, row.image_id, file.problem
        if box and not problem:
            try:
                box = fit_box(box, *file.size)
            except ValueError as error:
                x1, y1, x2, y2 = box
                value = f"{row.image_id},{row.text},{x1:g},{y1:g},{x2 - x1:g},{y2 - y1:g}"
                problem = str(error)
        if problem:
            rejected.add(source or "", row.line, value, problem)
        else:
            yield row, box


def chosen_by_hash(
    image_ids: Iterable[str], share: float, purpose: str, seed: int, least: int = 1
) -> set[str]:
    """The image ids whose hash is below `share`; at least `least` when `share` is above 0, but not all.

    The hash is of the arguments alone: adding photographs moves none of the others.
    """
    shares = {}
    for image_id in image_ids:
        digest = hashlib.blake2b(f"{seed}:{purpose}:{image_id}".encode(), digest_size=8).digest()
        shares[image_id] = int.from_bytes(digest, "big") / 2**64
    in_order = sorted(shares, key=lambda image_id: shares[image_id])
    count = sum(value < share for value in shares.values())
    if share > 0 and count < least < len(shares):
        count = least
    return set(in_order[:count])


def _split(
    captions: dict[str, list[str]],
    phrases: dict[str, dict[str, list[Box]]],
    inspected: dict[str, PhotographFile],
    config: DataConfig,
) -> list[FolderPhotograph]:
    """The photographs in use with their splits, captioned ones first."""
    folder, seed = config.folder, config.seed
    both = captions.keys() & phrases.keys()
    if both:
        log.warning(
            "%d photographs have captions and phrases with boxes: they are for evaluation only, and"
            " their %d captions are left out of training",
            len(both),
            sum(len(captions[image_id]) for image_id in both),
        )
    captioned = {image_id: texts for image_id, texts in captions.items() if image_id not in both}
    val = chosen_by_hash(captioned, folder.val_share, "captions", seed, FEWEST)
    phrases_val = chosen_by_hash(phrases, folder.phrases_val_share, "phrases", seed)
    if len(captioned) < 2 * FEWEST:
        raise UserError(
            f"{folder.captions} (data.folder.captions) has usable captions of {len(captioned)} photographs"
            f" without boxes; training needs at least {2 * FEWEST}, {FEWEST} of them to choose by;"
            " caption more"
        )
    if len(captioned) - len(val) < FEWEST:
        raise UserError(
            f"data.folder.val_share: {folder.val_share} of {len(captioned)} captioned photographs leaves"
            f" {len(captioned) - len(val)} to train on, and training needs at least {FEWEST}; lower it"
        )
    photographs = [
        FolderPhotograph(image_id, inspected[image_id].size, "val" if image_id in val else "train", texts)
        for image_id, texts in captioned.items()
    ]
    for image_id, boxes in phrases.items():
        split = "val" if image_id in phrases_val else "test"
        photographs.append(FolderPhotograph(image_id, inspected[image_id].size, split, phrases=boxes))
    return photographs


def _add_mentions(photographs: list[FolderPhotograph], spacy_model: str | None) -> None:
    """Fill `mentions` with the noun phrases of each photograph's captions."""
    extract = phrase_extractor(spacy_model)
    captions = [(photograph, text) for photograph in photographs for text in photograph.captions]
    log.info("noun phrases by %s", f"spaCy, {spacy_model}" if spacy_model else "stop words")
    extracted = extract(text for _, text in captions)
    pairs = zip(captions, extracted, strict=True)
    for (photograph, _), phrases in track(pairs, "noun phrases", total=len(captions)):
        photograph.mentions.update(dict.fromkeys(phrases, 1))


def _check_phrases(
    photographs: list[FolderPhotograph], frequency: Counter[str], config: FolderConfig
) -> None:
    """`UserError` where fewer than `FEWEST` photographs of train or val have a noun phrase that is kept; a
    warning where captions of many photographs come to nothing."""
    for split in ("train", "val"):
        of_split = [
            photograph for photograph in photographs if photograph.split == split and photograph.captions
        ]
        counts = {
            least: sum(any(_kept(text, frequency, least) for text in each.mentions) for each in of_split)
            for least in (config.min_phrase_count, 1)
        }
        found, at_most = counts[config.min_phrase_count], counts[1]
        said = (
            f"{found} of the {len(of_split)} captioned photographs of split {split} have a noun phrase that"
            f" occurs {config.min_phrase_count} times or more in the captions to train on"
        )
        if at_most < FEWEST:
            raise UserError(
                f"{at_most} of the {len(of_split)} captioned photographs of split {split} have a noun phrase,"
                f" and training needs at least {FEWEST}: caption more photographs"
                + (", or raise data.folder.val_share" if split == "val" else "")
            )
        if found < FEWEST:
            raise UserError(
                f"{said}, and training needs at least {FEWEST}: set data.folder.min_phrase_count to 1, which"
                f" takes in {at_most}, or caption more photographs"
            )
        if found < 0.75 * at_most:
            log.warning(
                "%s; the others are not used: data.folder.min_phrase_count: 1 takes in %d", said, at_most
            )


def _kept(text: str, frequency: Counter[str], least: int) -> bool:
    """Whether a noun phrase occurs often enough in training; of val too, every one where once will do."""
    return least == 1 or frequency[text] >= least


def _expressions(
    photograph: FolderPhotograph, frequency: Counter[str], config: FolderConfig
) -> Iterator[Row]:
    """The captions, then the most mentioned noun phrases; or the phrases with boxes.

    A phrase is numbered among all of the photograph's own, so its id does not depend on others.
    """
    image_id = photograph.image_id

    def expression(name: str, text: str, kind: str) -> Row:
        return expression_row(f"{image_id}#{name}", image_id, text, kind, photograph.split)

    for number, text in enumerate(photograph.captions):
        yield expression(f"c{number}", text, "sentence")
    for number, text in enumerate(photograph.phrases):
        yield expression(f"p{number}", text, "phrase")
    numbers = {text: number for number, text in enumerate(photograph.mentions)}
    # most_common is stable: among equals the first mentioned stay
    common = (text for text, _ in photograph.mentions.most_common())
    frequent = [text for text in common if _kept(text, frequency, config.min_phrase_count)]
    for text in frequent[: config.max_phrases_per_image]:
        yield expression(f"p{numbers[text]}", text, "phrase")
