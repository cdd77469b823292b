"""Flickr30k Entities as the data tables.

    <data_root>/<annotations>/Sentences/<id>.txt, Annotations/<id>.xml, train.txt, val.txt, test.txt
    <data_root>/<images>/<id>.jpg

with the config's data.flickr30k.annotations (flickr30k_entities) and data.flickr30k.images
(flickr30k_entities/flickr30k-images). The archive of the photographs needs a form; the rest lies in the
repository of BryanPlummer/flickr30k_entities, whose split files are the official ones.

Captions are expressions of kind sentence, their marked phrases expressions of kind phrase; chain 0, not
visual, is left out. Val and test have every phrase of every caption, as evaluations count them; of
train's, a photograph's phrases of the same words are one, since without boxes they are the same pair.
`targets` has the boxes of a phrase's chain, all of them where there are several (evaluate.multiple_boxes
chooses the protocol: any_box or merged_box), its first type as flavour and all of its types as category;
phrases of scenes and of things that are not to be seen have no target and so are not evaluated.

A line of Sentences is a caption in which `[/EN#<chain>/<type>/<type>... <words>]` marks a phrase;
phrases of a photograph with the same chain mean the same thing, and chain 0 is not visual. The XML's
objects name the chains they belong to, one or several, and have a box, or a flag for a thing without
one (`scene`: the whole photograph; `nobndbox`: not to be seen); a chain has one or several boxes. Its
coordinates are 1-based and its last pixel belongs to the box; here boxes are xyxy, 0-based, x2 and y2
exclusive.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from camground.data.boxes import Box, fit_box
from camground.data.config import DataConfig
from camground.data.kinds import Outputs, Row, data_tables, expression_row, image_row, target_row
from camground.data.photographs import PhotographFile, inspect_all
from camground.data.readers.inputs import NearNames, existing_folder, has_word
from camground.data.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import log, track

NOT_VISUAL = "0"
_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\[\]]+)+)\s+([^\[\]]*[^\[\]\s])\s*\]")


@dataclass(frozen=True, slots=True)
class Phrase:
    """`chain`: the same for the phrases of a photograph that mean the same thing."""

    text: str
    chain: str
    types: tuple[str, ...]

    @property
    def visual(self) -> bool:
        return self.chain != NOT_VISUAL


@dataclass(frozen=True, slots=True)
class Caption:
    text: str
    phrases: tuple[Phrase, ...]


@dataclass
class Boxes:
    """The boxes of a photograph of `size` (width, height) in pixels.

    objects: all boxes, cut to the photograph; of_chain: for each chain the indices of its boxes in
    `objects`; problems: what was wrong with the objects that were left out. A scene, or a thing that is not
    to be seen, has no box.
    """

    size: tuple[int, int]
    objects: list[Box] = field(default_factory=list)
    of_chain: dict[str, list[int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def boxes_of(self, chain: str) -> list[Box]:
        """The distinct boxes of a chain, in the file's order; none for a scene or an unseen thing."""
        return list(dict.fromkeys(self.objects[index] for index in self.of_chain.get(chain, [])))


@dataclass
class Flickr30kPhotograph:
    """A photograph, whose id is its file's name: its captions by line of their file (from 1), its boxes."""

    path: Path
    split: str
    captions: dict[int, Caption]
    boxes: Boxes


def write(config: DataConfig, data_root: Path, outputs: Outputs) -> None:
    """Write the tables of Flickr30k Entities in `data_root`, laid out as the module's text says. Raises
    `UserError`: a folder or split file is missing, a photograph is in two splits, nothing is left to train
    on, or more rows are rejected than `data.max_rejected_share` allows."""
    root = data_root / config.flickr30k.annotations
    folders = (
        ("captions of Flickr30k Entities", root / "Sentences"),
        ("boxes of Flickr30k Entities", root / "Annotations"),
        ("photographs of Flickr30k", data_root / config.flickr30k.images),
    )
    advice = "put the {} there, or set data_root, data.flickr30k.annotations and data.flickr30k.images"
    texts, boxes, images = (existing_folder(folder, advice.format(what)) for what, folder in folders)
    split_files = {split: root / f"{split}.txt" for split in ("train", "val", "test")}
    splits = read_splits(split_files)
    rejected = Rejected()
    paths = [images / f"{name}.jpg" for name in splits]
    inspected = zip(splits.items(), paths, inspect_all(paths), strict=True)
    photographs: list[Flickr30kPhotograph] = []
    near = NearNames(images)
    for (name, split), path, file in track(inspected, "captions and boxes", total=len(splits)):
        sources = texts / f"{name}.txt", boxes / f"{name}.xml"
        if file.problem and not path.exists():
            file = PhotographFile(problem=file.problem + near.advice(path.name))
        if photograph := _read_photograph(path, split, *sources, file, rejected):
            photographs.append(photograph)
    # one row for each photograph that is left out; the others are lines and objects
    refused = len(rejected.rows) - (len(splits) - len(photographs))
    used = sum(len(photograph.captions) + len(photograph.boxes.objects) for photograph in photographs)
    total = len(splits) + used + refused
    rejected.settle(total, config.max_rejected_share, outputs.rejected)

    _warn_of_foreign_chains(photographs, texts, boxes)
    with data_tables(outputs) as tables:
        for photograph in photographs:
            path, size = photograph.path, photograph.boxes.size
            tables.add(image_row(path.name, path, size, photograph.split), *_rows(photograph))
        advice = "add photographs to that split's file, or get the official ones again"
        tables.check_trainable(f"{root} (data.flickr30k.annotations)", advice)


def _read_photograph(
    path: Path, split: str, text_path: Path, box_path: Path, file: PhotographFile, rejected: Rejected
) -> Flickr30kPhotograph | None:
    """A photograph with its captions and boxes; None, and rejected rows, where a file is unusable."""
    source = path
    try:
        if file.problem:
            raise ValueError(file.problem)
        source = text_path
        captions = read_captions(text_path, rejected)
        source = box_path
        boxes = read_boxes(box_path)
        if boxes.size != file.size:
            made_for = "made for {} x {} pixels, but the photograph has {} x {}"
            raise ValueError(made_for.format(*boxes.size, *file.size))
    except ValueError as error:
        rejected.add(source, 0, path.stem, error)
        return None
    for problem in boxes.problems:
        rejected.add(box_path, 0, path.stem, problem)
    return Flickr30kPhotograph(path, split, captions, boxes)


def _warn_of_foreign_chains(photographs: list[Flickr30kPhotograph], texts: Path, boxes: Path) -> None:
    """Warn of photographs that have boxes, none of them of a chain that their captions name."""
    foreign = []
    for photograph in photographs:
        named = {phrase.chain for caption in photograph.captions.values() for phrase in caption.phrases}
        if named and photograph.boxes.of_chain and not named & photograph.boxes.of_chain.keys():
            foreign.append((photograph.path.name, min(named), min(photograph.boxes.of_chain)))
    if foreign:
        name, chain, other = foreign[0]
        log.warning(
            "WARNING: %d of %d photographs have boxes of no phrase in their captions: of %s, %s names chains"
            " such as %s, %s such as %s; do the two folders belong together?",
            *(len(foreign), len(photographs), name, texts, chain, boxes, other),
        )


def _rows(photograph: Flickr30kPhotograph) -> tuple[list[Row], list[Row]]:
    """The expressions of a photograph, captions first, and the targets of its phrases."""
    image_id, split, objects = photograph.path.name, photograph.split, photograph.boxes.objects
    expressions = [
        expression_row(f"{image_id}#s{line}", image_id, caption.text, "sentence", split)
        for line, caption in photograph.captions.items()
    ]
    targets = []
    texts: set[str] = set()
    for line, caption in photograph.captions.items():
        for number, phrase in enumerate(caption.phrases):
            text = phrase.text.casefold()
            if not phrase.visual or not has_word(text) or (split == "train" and text in texts):
                continue
            texts.add(text)
            expression_id = f"{image_id}#s{line}p{number}"
            expressions.append(expression_row(expression_id, image_id, phrase.text, "phrase", split))
            if boxes := photograph.boxes.boxes_of(phrase.chain):
                types = {"flavour": phrase.types[0], "category": "/".join(phrase.types)}
                # a phrase of several boxes means no single object
                index = objects.index(boxes[0]) if len(boxes) == 1 else None
                targets.append(
                    target_row(expression_id, boxes, **types, objects_xyxy=objects, object_index=index)
                )
    return expressions, targets


def read_splits(files: dict[str, Path]) -> dict[str, str]:
    """The split of every photograph that the files of the splits name, in their order."""
    splits: dict[str, str] = {}
    for split, path in files.items():
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); it lists the ids of split {split}, one per line"
            ) from None
        for name in names:
            if not name.isalnum():
                raise UserError(f"{path}: {name!r} is no id of a photograph, such as 1000092795")
            if splits.setdefault(name, split) != split:
                raise UserError(
                    f"{path}: photograph {name} is in split {splits[name]} too: it would be trained"
                    " on and evaluated on; get the official split files again"
                )
    return splits


def parse_caption(line: str) -> Caption:
    """The caption and phrases of a line of Sentences. Raises `ValueError`: a bracket that opens or closes no
    phrase of the form above."""
    phrases = tuple(
        Phrase(" ".join(words.split()), chain, tuple(types.strip("/").split("/")))
        for chain, types, words in _PHRASE.findall(line)
    )
    plain = _PHRASE.sub(r"\3", line)
    if stray := re.search(r"[\[\]].{0,30}", plain):
        raise ValueError(f"a bracket of no phrase [/EN#number/type words], at {stray[0]!r}")
    text = " ".join(plain.split())
    if not has_word(text):
        raise ValueError("empty caption: not a letter in it")
    return Caption(text, phrases)


def read_captions(path: Path, rejected: Rejected) -> dict[int, Caption]:
    """Captions by line, from 1; lines with misplaced brackets go to `rejected`, empty ones are skipped.
    Raises `ValueError`: no such file."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise ValueError("no such file") from None
    captions = {}
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            captions[number] = parse_caption(raw.decode("utf-8"))
        except UnicodeDecodeError:
            rejected.add(path, number, raw.decode("latin-1"), "not UTF-8")
        except ValueError as error:
            rejected.add(path, number, raw.decode("utf-8").strip(), error)
    return captions


def _number(element: ET.Element, path: str) -> int:
    """The whole number in the element at `path`; ValueError where there is none."""
    text = element.findtext(path)
    try:
        return int(text or "")
    except ValueError:
        raise ValueError(f"<{path}> holds {text!r}, not a whole number") from None


def _box(bndbox: ET.Element, size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = (_number(bndbox, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    if x2 < x1 or y2 < y1:
        raise ValueError(f"its box {x1}, {y1}, {x2}, {y2} ends before it begins")
    # from the first pixel's number to that after the last one, counted from 0
    return fit_box((x1 - 1, y1 - 1, x2, y2), *size)


def read_boxes(path: Path) -> Boxes:
    """The boxes in an Annotations file; an object that makes no sense is left out and named in `problems`.
    Raises `ValueError`: the file is missing, truncated or without the photograph's size."""
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        raise ValueError("no such file") from None
    # ParseError: also for entities that would grow without bound, which expat refuses
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"truncated, or not XML ({error})") from None
    boxes = Boxes((_number(root, "size/width"), _number(root, "size/height")))
    for number, element in enumerate(root.findall("object"), start=1):
        chains = [(name.text or "").strip() for name in element.findall("name")]
        if not chains or not all(chain.isdecimal() for chain in chains):
            boxes.problems.append(f"object {number}: its <name> is no chain number")
            continue
        for bndbox in element.findall("bndbox"):
            try:
                box = _box(bndbox, boxes.size)
            except ValueError as error:
                boxes.problems.append(f"object {number}: {error}")
                continue
            if box not in boxes.objects:
                boxes.objects.append(box)
            for chain in chains:
                boxes.of_chain.setdefault(chain, []).append(boxes.objects.index(box))
    return boxes
