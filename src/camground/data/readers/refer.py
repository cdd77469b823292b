"""RefCOCO, RefCOCO+, RefCOCOg and ReferItGame, in REFER's own files, as the data tables.

`data_root` is laid out as REFER's:

    <data_root>/<dataset>/refs(<split_by>).p, instances.json
        dataset: refcoco, refcoco+, refcocog or refclef (ReferItGame); the config's data.refer.dataset
        split_by: unc (refcoco, refcoco+, refclef), google (refcoco, refcocog), umd (refcocog) or
        berkeley (refclef)
    <data_root>/<images>/  the photographs: images/mscoco/images/train2014 for the three of COCO,
        images/saiapr_tc-12 for refclef; names are those of instances.images

Every sentence of a ref is an expression of kind phrase; those of split train are the image-sentence
pairs that training sees, without a box. `targets` has each expression's box, its mask and all objects
of its photograph, for evaluation alone; training never reads it. Splits are the file's own. A set whose
test refs are of several kinds at once (refclef by unc: testA, testAB, testC ...) has all of them as test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from camground.data.boxes import Box, fit_box
from camground.data.config import DataConfig
from camground.data.kinds import Outputs, Row, data_tables, expression_row, image_row, target_row
from camground.data.leakage import allowed_by, audit
from camground.data.photographs import inspect_all, locate
from camground.data.readers.coco_instances import Annotation, Instances, Picture, encoded_mask, read_instances
from camground.data.readers.inputs import NearNames, existing_folder, inside_folder
from camground.data.readers.refer_files import Ref, check_counts, read_refs, refs_path, with_known_splits
from camground.data.rejected import Rejected
from camground.study.progress import track
from camground.study.schemas import SPLITS


@dataclass(frozen=True)
class Referent:
    """A ref with the object that it means; the box is cut to the photograph."""

    ref: Ref
    annotation: Annotation
    box_xyxy: Box


def write(config: DataConfig, data_root: Path, outputs: Outputs) -> None:
    """Write the tables of a data set of REFER in `data_root`, laid out as the module's text says.

    Beside the tables leakage-refused.json, where the set is refused because training photographs are
    evaluated on. Raises `UserError`: a file is missing, damaged or harmful; training photographs are
    evaluated on; more rows are rejected than `data.max_rejected_share` allows; the counts are not the
    published ones.
    """
    refer, folder = config.refer, data_root / config.refer.dataset
    refs_file, instances_file = refs_path(folder, refer.split_by), folder / "instances.json"
    advice = "put the photographs there, or set data.refer.images to their folder inside data_root"
    images = existing_folder(data_root / refer.images, advice)
    rejected = Rejected()
    refs = read_refs(refs_file, rejected)
    malformed = len(rejected.rows)
    if refer.check_counts:
        # before the photographs are decoded: a file that broke off shows at once
        check_counts(refer.dataset, refer.split_by, refs, f"as read from {refs_file}")
    refs = with_known_splits(refs, refs_file)
    listing = outputs.images.parent / "leakage-refused.json"
    audit(data_root, refer.dataset, refer.split_by, refs).settle(allowed_by(refer), listing)
    listing.unlink()  # it was not refused

    instances = read_instances(instances_file)
    matched = _matched(refs, instances, refs_file, rejected)
    pictures = {ref.image_id: instances.pictures[ref.image_id] for ref, _ in matched}
    paths = _usable_photographs(images, pictures, instances_file, rejected)
    photographs = _referents(matched, pictures, paths, refs_file, rejected)
    total = malformed + len(refs) + sum(len(ref.sentences) for ref, _ in matched) + len(pictures)
    rejected.settle(total, config.max_rejected_share, outputs.rejected)
    usable = [referent.ref for referents in photographs.values() for referent in referents]
    if refer.check_counts:
        check_counts(refer.dataset, refer.split_by, usable, "prepared")

    with data_tables(outputs) as tables:
        for image_id, referents in track(photographs.items(), "photographs and their refs", len(photographs)):
            name, size = instances.pictures[image_id]
            # of several splits (RefCOCOg by google, where leakage is allowed) the first
            split = min((referent.ref.split for referent in referents), key=SPLITS.index)
            expressions, targets = _rows(name, size, referents, instances)
            tables.add(image_row(name, paths[image_id], size, split), expressions, targets)
        advice = "add refs of that split, or choose another data.refer.split_by"
        tables.check_trainable(f"{refs_file} (data.refer.dataset)", advice)


def _matched(
    refs: list[Ref], instances: Instances, source: Path, rejected: Rejected
) -> list[tuple[Ref, Annotation]]:
    """Refs with their annotation; those without it, or without a picture, go to `rejected`."""
    matched: dict[str, tuple[Ref, Annotation]] = {}
    for ref in refs:
        annotation = instances.annotations.get(ref.annotation_id)
        if ref.image_id not in instances.pictures:
            problem = f"image {ref.image_id} is not in instances.json"
        elif annotation is None:
            reason = instances.problems.get(ref.annotation_id, "is not in instances.json")
            problem = f"annotation {ref.annotation_id}: {reason}"
        elif annotation.image_id != ref.image_id:
            problem = f"annotation {ref.annotation_id} is of image {annotation.image_id}"
        elif ref.ref_id in matched:
            problem = "the ref comes twice"
        else:
            matched[ref.ref_id] = ref, annotation
            continue
        rejected.add(source, ref.row, f"ref {ref.ref_id}", problem)
    return list(matched.values())


def _usable_photographs(
    folder: Path, pictures: dict[str, Picture], source: Path, rejected: Rejected
) -> dict[str, Path]:
    """The paths of the usable photographs by image id; each is decoded once.

    One that is missing, damaged or of another size than its boxes are made for is a rejected row.
    """
    names = {}
    for image_id, picture in pictures.items():
        try:
            names[image_id] = inside_folder(picture.file_name)
        except ValueError as error:
            rejected.add(source, 0, f"image {image_id}: {picture.file_name}", error)
    located = locate(folder, names.values())
    near = NearNames(folder)
    paths = {image_id: located[name] for image_id, name in names.items()}
    for (image_id, path), file in zip(list(paths.items()), inspect_all(list(paths.values())), strict=True):
        name, size = pictures[image_id]
        problem = file.problem and file.problem + ("" if path.exists() else near.advice(name))
        if not problem and file.size != size:
            problem = "{} x {} pixels, but instances.json has {} x {}".format(*file.size, *size)
        if problem:
            rejected.add(path, 0, name, problem)
            del paths[image_id]
    return paths


def _referents(
    matched: list[tuple[Ref, Annotation]],
    pictures: dict[str, Picture],
    usable: Container[str],
    source: Path,
    rejected: Rejected,
) -> dict[str, list[Referent]]:
    """The referents of each usable photograph by image id, in the order of the refs."""
    referents: dict[str, list[Referent]] = {}
    for ref, annotation in matched:
        if ref.image_id not in usable:
            rejected.add(source, ref.row, f"ref {ref.ref_id}", "its photograph cannot be used")
            continue
        try:
            box = fit_box(annotation.box_xyxy, *pictures[ref.image_id].size)
        except ValueError as error:
            rejected.add(source, ref.row, f"ref {ref.ref_id}: {annotation.box_xyxy}", error)
            continue
        for sentence_id, text in ref.sentences:
            if not text:
                value = f"ref {ref.ref_id}, sentence {sentence_id}"
                rejected.add(source, ref.row, value, "a sentence without a letter")
        referents.setdefault(ref.image_id, []).append(Referent(ref, annotation, box))
    return referents


def _rows(
    image_id: str, size: tuple[int, int], referents: list[Referent], instances: Instances
) -> tuple[list[Row], list[Row]]:
    """The expressions of a photograph and their targets."""
    # its single objects; crowds are none
    boxes: dict[str, Box] = {}
    categories: Counter[str] = Counter()
    for annotation in instances.of_image[referents[0].ref.image_id]:
        with suppress(ValueError):
            box = fit_box(annotation.box_xyxy, *size)
            if not annotation.crowd:
                boxes[annotation.annotation_id] = box
                categories[annotation.category_id] += 1
    expressions, targets = [], []
    for referent in referents:
        ref, annotation = referent.ref, referent.annotation
        listed = annotation.annotation_id in boxes
        columns = {
            "mask": encoded_mask(annotation.segmentation, *size),
            "category": instances.categories.get(annotation.category_id),
            "distractors": categories[annotation.category_id] - int(listed),
            "objects_xyxy": list(boxes.values()) if listed else None,
            "object_index": list(boxes).index(annotation.annotation_id) if listed else None,
        }
        # numbered, for a sentence's id may come twice
        for number, (_, text) in enumerate(ref.sentences):
            if text:
                expression_id = f"{ref.ref_id}#{number}"
                expressions.append(expression_row(expression_id, image_id, text, "phrase", ref.split))
                targets.append(target_row(expression_id, [referent.box_xyxy], **columns))
    return expressions, targets
