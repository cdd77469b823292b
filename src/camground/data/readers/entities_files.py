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

from camground.data.boxes import Box

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
    """The boxes of a photograph of `width` by `height` pixels.

    objects: all boxes; of_chain: for each chain the places of its boxes in `objects`; scene, unseen:
    chains without a box; bad: what was wrong with the objects that were left out.
    """

    width: int
    height: int
    objects: list[Box] = field(default_factory=list)
    of_chain: dict[str, list[int]] = field(default_factory=dict)
    scene: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)
    bad: list[str] = field(default_factory=list)

    def boxes_of(self, chain: str) -> list[Box]:
        """The distinct boxes of a chain, in the file's order; none for a scene or an unseen thing."""
        return list(dict.fromkeys(self.objects[place] for place in self.of_chain.get(chain, [])))


def parse_caption(line: str) -> Caption:
    """The caption and phrases of a line of Sentences.

    Raises:
        ValueError: a bracket that opens or closes no phrase of the form above.
    """
    phrases = tuple(
        Phrase(" ".join(found[3].split()), found[1], tuple(found[2].strip("/").split("/")))
        for found in _PHRASE.finditer(line)
    )
    plain = _PHRASE.sub(lambda found: found[3], line)
    stray = re.search(r"[\[\]].{0,30}", plain)
    if stray:
        raise ValueError(f"a bracket of no phrase [/EN#number/type words], at {stray[0]!r}")
    text = " ".join(plain.split())
    if not any(letter.isalnum() for letter in text):
        raise ValueError("empty caption: not a letter in it")
    return Caption(text, phrases)


def _number(element: ET.Element, path: str) -> int:
    """The whole number in the element at `path`; ValueError where there is none."""
    text = element.findtext(path)
    try:
        return int(text or "")
    except ValueError:
        raise ValueError(f"<{path}> holds {text!r}, not a whole number") from None


def _box(bndbox: ET.Element) -> Box:
    x1, y1, x2, y2 = (_number(bndbox, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    if x2 < x1 or y2 < y1:
        raise ValueError(f"its box {x1}, {y1}, {x2}, {y2} ends before it begins")
    # from the first pixel's number to that after the last one, counted from 0
    return x1 - 1, y1 - 1, x2, y2


def _is_set(element: ET.Element, flag: str) -> bool:
    return (element.findtext(flag) or "0").strip() not in ("", "0")


def read_boxes(path: Path) -> Boxes:
    """The boxes in an Annotations file; an object that makes no sense is left out and named in `bad`.

    Raises:
        ValueError: the file is missing, truncated or without the photograph's size.
    """
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        raise ValueError("no such file") from None
    # ParseError: also for entities that would grow without bound, which expat refuses
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"truncated, or not XML ({error})") from None
    made = Boxes(_number(root, "size/width"), _number(root, "size/height"))
    for place, element in enumerate(root.findall("object"), start=1):
        chains = [(name.text or "").strip() for name in element.findall("name")]
        bndboxes = element.findall("bndbox")
        if not chains or not all(chain.isdecimal() for chain in chains):
            made.bad.append(f"object {place}: its <name> is no chain number")
            continue
        if not bndboxes:
            if _is_set(element, "scene"):
                made.scene.update(chains)
            if _is_set(element, "nobndbox"):
                made.unseen.update(chains)
            continue
        for bndbox in bndboxes:
            try:
                box = _box(bndbox)
            except ValueError as error:
                made.bad.append(f"object {place}: {error}")
                continue
            if box not in made.objects:
                made.objects.append(box)
            for chain in chains:
                made.of_chain.setdefault(chain, []).append(made.objects.index(box))
    return made
