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

from dataclasses import dataclass
from pathlib import Path

from camground.data.config import DataConfig
from camground.data.kinds import Outputs, Row, data_tables, expression_row, image_row, target_row
from camground.data.photographs import PhotographFile, inspect_all
from camground.data.readers.flickr30k_files import Boxes, Caption, read_boxes, read_captions, read_splits
from camground.data.readers.source_paths import existing_folder, has_word
from camground.data.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import track


@dataclass
class Flickr30kPhotograph:
    """One photograph: its captions by line of its file (from 1), and its boxes."""

    image_id: str
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
    photographs = []
    for (name, split), path, file in track(inspected, "captions and boxes", total=len(splits)):
        sources = texts / f"{name}.txt", boxes / f"{name}.xml"
        if photograph := _read_photograph(path, split, *sources, file, rejected):
            photographs.append(photograph)
    total = len(splits) + sum(
        len(photograph.captions) + len(photograph.boxes.objects) for photograph in photographs
    )
    total = max(total, len(rejected.rows))
    rejected.settle(total, config.max_rejected_share, outputs.rejected)
    if not any(photograph.split == "train" and photograph.captions for photograph in photographs):
        raise UserError(f"{split_files['train']}: no usable photograph to train on is in it")

    with data_tables(outputs) as tables:
        for photograph in photographs:
            size = photograph.boxes.size
            image = image_row(photograph.image_id, photograph.path, size, photograph.split)
            tables.add(image, *_rows(photograph))


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
    return Flickr30kPhotograph(path.name, path, split, captions, boxes)


def _rows(photograph: Flickr30kPhotograph) -> tuple[list[Row], list[Row]]:
    """The expressions of a photograph, captions first, and the targets of its phrases."""
    image_id, split, objects = photograph.image_id, photograph.split, photograph.boxes.objects
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
