"""The files of Flickr30k Entities: Sentences/<id>.txt and Annotations/<id>.xml of each photograph.

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
from camground.data.readers.source_paths import has_word
from camground.data.rejected import Rejected
from camground.study.errors import UserError

NOT_VISUAL = "0"
_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\[\]]+)+)\s+([^\[\]]*[^\[\]\s])\s*\]")


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
