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
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camground.data.boxes import fit_box
from camground.data.photographs import PhotographFile, inspect_all
from camground.data.readers.entities_files import Boxes, Caption, Phrase, parse_caption, read_boxes
from camground.data.readers.rejected import Rejected
from camground.data.readers.rows import expression_row, write_batches
from camground.study.errors import UserError
from camground.study.progress import log, track

SPLITS = ("train", "val", "test")


@dataclass
class Entry:
    """One photograph: its captions by line of its file (from 1), and its boxes."""

    image_id: str
    path: Path
    split: str
    captions: dict[int, Caption]
    boxes: Boxes


class Sources:
    """The input folders and files; `UserError` says which is not there."""

    def __init__(self, data_root: str | None, config: dict[str, Any]) -> None:
        if not data_root:
            raise UserError(
                "data.kind is flickr30k, but data_root is not set; give the folder of the data sets,"
                " for example: snakemake --configfile configs/flickr30k.yaml --config data_root=DIR"
            )
        root = Path(data_root).expanduser().absolute()
        annotations = root / config["annotations"]
        self.sentences, self.boxes = annotations / "Sentences", annotations / "Annotations"
        self.images = root / config["images"]
        self.splits = {split: annotations / f"{split}.txt" for split in SPLITS}
        for folder, what in (
            (self.sentences, "the captions of Flickr30k Entities"),
            (self.boxes, "the boxes of Flickr30k Entities"),
            (self.images, "the photographs of Flickr30k"),
        ):
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: no such folder; put {what} there, or set data_root,"
                    " data.flickr30k.annotations and data.flickr30k.images"
                )

    def listed(self) -> dict[str, str]:
        """The split of every photograph that the split files name, in their order."""
        found: dict[str, str] = {}
        for split, path in self.splits.items():
            try:
                names = path.read_text(encoding="utf-8").split()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(
                    f"{path}: cannot be read ({error}); it lists the ids of split {split}, one a line"
                ) from None
            for name in names:
                if not name.isalnum():
                    raise UserError(
                        f"{path}: {name!r} is no id of a photograph, such as 1000092795"
                    )
                if found.setdefault(name, split) != split:
                    raise UserError(
                        f"{path}: photograph {name} is in split {found[name]} too: it would be trained"
                        " on and evaluated on; get the official split files again"
                    )
        return found


def _captions(path: Path, rejected: Rejected) -> dict[int, Caption]:
    """Captions by line; lines with misplaced brackets go to `rejected`. Empty lines are skipped."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise ValueError("no such file") from None
    found = {}
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            found[number] = parse_caption(raw.decode("utf-8"))
        except UnicodeDecodeError:
            rejected.add(path, number, raw.decode("latin-1"), "not UTF-8")
        except ValueError as error:
            rejected.add(path, number, raw.decode("utf-8").strip(), str(error))
    return found


def _cut(boxes: Boxes, path: Path, rejected: Rejected) -> None:
    """Cut the objects to the photograph in place; those outside it belong to no chain any more."""
    outside = set()
    for place, box in enumerate(boxes.objects):
        try:
            boxes.objects[place] = fit_box(box, boxes.width, boxes.height)
        except ValueError as error:
            outside.add(place)
            rejected.add(path, 0, ", ".join(f"{value:g}" for value in box), str(error))
    kept = [place for place in range(len(boxes.objects)) if place not in outside]
    moved = {place: new for new, place in enumerate(kept)}
    boxes.objects = [boxes.objects[place] for place in kept]
    boxes.of_chain = {
        chain: [moved[place] for place in places if place in moved]
        for chain, places in boxes.of_chain.items()
    }


def _entry(
    name: str, split: str, sources: Sources, photograph: PhotographFile, rejected: Rejected
) -> Entry | None:
    """What is known of a photograph; None, and rejected rows, where a file of it cannot be used."""
    path = sources.images / f"{name}.jpg"
    if photograph.problem:
        rejected.add(path, 0, name, photograph.problem)
        return None
    text_path, box_path = sources.sentences / f"{name}.txt", sources.boxes / f"{name}.xml"
    try:
        captions = _captions(text_path, rejected)
    except ValueError as error:
        rejected.add(text_path, 0, name, str(error))
        return None
    try:
        boxes = read_boxes(box_path)
    except ValueError as error:
        rejected.add(box_path, 0, name, str(error))
        return None
    if (boxes.width, boxes.height) != (photograph.width, photograph.height):
        reason = (
            f"made for {boxes.width} x {boxes.height} pixels, but the photograph has"
            f" {photograph.width} x {photograph.height}"
        )
        rejected.add(box_path, 0, name, reason)
        return None
    for problem in boxes.bad:
        rejected.add(box_path, 0, name, problem)
    _cut(boxes, box_path, rejected)
    return Entry(f"{name}.jpg", path, split, captions, boxes)


def _phrases(entry: Entry) -> Iterator[tuple[str, Phrase]]:
    """Ids and phrases that become expressions, in the order of captions and words."""
    said: set[str] = set()
    for line, caption in entry.captions.items():
        for number, phrase in enumerate(caption.phrases):
            words = phrase.text.casefold()
            if not phrase.visual or not any(letter.isalnum() for letter in words):
                continue
            if entry.split == "train" and words in said:
                continue
            said.add(words)
            yield f"{entry.image_id}#s{line}p{number}", phrase


def _expressions(entries: list[Entry]) -> Iterator[dict]:
    for entry in entries:
        for line, caption in entry.captions.items():
            name = f"{entry.image_id}#s{line}"
            yield expression_row(name, entry.image_id, caption.text, "sentence", entry.split)
        for name, phrase in _phrases(entry):
            yield expression_row(name, entry.image_id, phrase.text, "phrase", entry.split)


def _targets(entries: list[Entry]) -> Iterator[dict]:
    for entry in entries:
        for name, phrase in _phrases(entry):
            boxes = entry.boxes.boxes_of(phrase.chain)
            if not boxes:
                continue
            yield {
                "expression_id": name,
                "boxes_xyxy": boxes,
                "mask": None,
                "flavour": phrase.types[0],
                "category": "/".join(phrase.types),
                "distractors": None,
                "objects_xyxy": entry.boxes.objects,
                # a phrase of several boxes means no single object
                "object_index": entry.boxes.objects.index(boxes[0]) if len(boxes) == 1 else None,
            }


def write(
    data: dict[str, Any],
    data_root: str | None,
    images: Path,
    expressions: Path,
    targets: Path,
    rejected: Path,
) -> None:
    """Read Flickr30k Entities in `data_root` and write images, expressions, targets and rejected.

    Args:
        data: config key `data`: `max_rejected_share` and `flickr30k`.
        data_root: the folder that the module's text describes.

    Raises:
        UserError: a folder or split file is missing, a photograph is in two splits, nothing is left
            to train on, or more rows are rejected than `data.max_rejected_share` allows.
    """
    sources = Sources(data_root, data["flickr30k"])
    listed = sources.listed()
    refused = Rejected()
    paths = [sources.images / f"{name}.jpg" for name in listed]
    photographs = inspect_all(paths)
    entries = []
    for (name, split), photograph in zip(
        track(listed.items(), "captions and boxes", total=len(listed)), photographs, strict=True
    ):
        entry = _entry(name, split, sources, photograph, refused)
        if entry is not None:
            entries.append(entry)
    total = len(listed) + sum(len(one.captions) + len(one.boxes.objects) for one in entries)
    refused.settle(max(total, len(refused.rows)), data["max_rejected_share"], rejected)
    if not any(entry.split == "train" and entry.captions for entry in entries):
        raise UserError(f"{sources.splits['train']}: no usable photograph to train on is in it")
    write_batches(
        "images",
        (
            {
                "image_id": entry.image_id,
                "path": str(entry.path),
                "width": entry.boxes.width,
                "height": entry.boxes.height,
                "split": entry.split,
            }
            for entry in entries
        ),
        images,
    )
    counts: Counter[tuple[str, str]] = Counter()

    def counted() -> Iterator[dict]:
        for row in _expressions(entries):
            counts[row["split"], row["kind"]] += 1
            yield row

    write_batches("expressions", counted(), expressions)
    boxed = write_batches("targets", _targets(entries), targets)
    for split in SPLITS:
        log.info(
            "%s: %d photographs, %d sentences, %d phrases",
            split,
            sum(entry.split == split for entry in entries),
            counts[split, "sentence"],
            counts[split, "phrase"],
        )
    log.info("phrases with boxes: %d", boxed)
