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
from dataclasses import dataclass, field
from pathlib import Path

from camground.data.boxes import Box, fit_box
from camground.data.config import DataConfig
from camground.data.kinds import Outputs, Row, data_tables, expression_row, image_row, target_row
from camground.data.leakage import allowed_by, audit
from camground.data.photographs import inspect_all, locate
from camground.data.readers.coco_instances import Annotation, Instances, Picture, encoded_mask, read_instances
from camground.data.readers.refer_counts import check_counts
from camground.data.readers.refer_files import Ref, ReferFiles, read_refs, with_known_splits
from camground.data.readers.source_paths import inside_folder
from camground.data.rejected import Rejected
from camground.study.errors import UserError
from camground.study.progress import track
from camground.study.schemas import SPLITS


@dataclass(frozen=True)
class Referent:
    """A ref with the object that it means; the box is cut to the photograph."""

    ref: Ref
    annotation: Annotation
    box_xyxy: Box

    def expressions(self) -> list[tuple[str, str]]:
        """Id and text of the sentences that can be used. By number, for a sentence id may come twice."""
        return [
            (f"{self.ref.ref_id}#{number}", sentence.text)
            for number, sentence in enumerate(self.ref.sentences)
            if sentence.text
        ]


@dataclass
class ReferPhotograph:
    """A photograph that refs are of, and their referents."""

    picture: Picture
    path: Path
    referents: list[Referent] = field(default_factory=list)


def write(config: DataConfig, data_root: Path, outputs: Outputs) -> None:
    """Write the tables of a data set of REFER in `data_root`, laid out as the module's text says.

    Beside the tables leakage-refused.json, where the set is refused because training photographs are
    evaluated on.

    Raises:
        UserError: a file is missing, damaged or harmful; training photographs are evaluated on; more
            rows are rejected than `data.max_rejected_share` allows; the counts are not the published
            ones.
    """
    refer = config.refer
    files = ReferFiles.below(data_root, refer)
    rejected = Rejected()
    refs = read_refs(files.refs, rejected)
    if refer.check_counts:
        # before the photographs are decoded: a file that broke off shows at once
        check_counts(refer.dataset, refer.split_by, refs, f"as read from {files.refs}")
    refs = with_known_splits(refs, files.refs)
    leakage = audit(data_root, refer.dataset, refer.split_by, refs)
    listing = outputs.images.parent / "leakage-refused.json"
    leakage.write(listing)
    leakage.settle(allowed_by(refer), listing)
    listing.unlink()  # it was not refused

    instances = read_instances(files.instances)
    matched = _matched(refs, instances, files.refs, rejected)
    pictures = {ref.image_id: instances.pictures[ref.image_id] for ref, _ in matched}
    paths = _usable_photographs(files.images, pictures, files.instances, rejected)
    photographs = _photographs(matched, pictures, paths, files.refs, rejected)
    total = len(refs) + sum(len(ref.sentences) for ref in refs) + len(pictures)
    rejected.settle(total, config.max_rejected_share, outputs.rejected)
    usable = [referent.ref for photograph in photographs for referent in photograph.referents]
    if not any(ref.split == "train" for ref in usable):
        raise UserError(f"{files.refs}: no usable ref of split train is left to train on")
    if refer.check_counts:
        check_counts(refer.dataset, refer.split_by, usable, "prepared")

    with data_tables(outputs) as tables:
        for photograph in track(photographs, "photographs and their refs"):
            tables.add(_image(photograph), _expressions(photograph), _targets(photograph, instances))


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
    paths = {image_id: located[name] for image_id, name in names.items()}
    usable = {}
    for (image_id, path), file in zip(paths.items(), inspect_all(list(paths.values())), strict=True):
        picture = pictures[image_id]
        problem = file.problem
        if not problem and file.size != picture.size:
            problem = (
                f"{file.width} x {file.height} pixels, but instances.json has"
                f" {picture.size[0]} x {picture.size[1]}"
            )
        if problem:
            rejected.add(path, 0, picture.file_name, problem)
        else:
            usable[image_id] = path
    return usable


def _photographs(
    matched: list[tuple[Ref, Annotation]],
    pictures: dict[str, Picture],
    paths: dict[str, Path],
    source: Path,
    rejected: Rejected,
) -> list[ReferPhotograph]:
    """The usable photographs with their referents, in the order of the refs."""
    photographs: dict[str, ReferPhotograph] = {}
    for ref, annotation in matched:
        if ref.image_id not in paths:
            rejected.add(source, ref.row, f"ref {ref.ref_id}", "its photograph cannot be used")
            continue
        picture = pictures[ref.image_id]
        try:
            box = fit_box(annotation.box_xyxy, *picture.size)
        except ValueError as error:
            rejected.add(source, ref.row, f"ref {ref.ref_id}: {annotation.box_xyxy}", error)
            continue
        for sentence in ref.sentences:
            if not sentence.text:
                value = f"ref {ref.ref_id}, sentence {sentence.sentence_id}"
                rejected.add(source, ref.row, value, "a sentence without a letter")
        photograph = photographs.setdefault(ref.image_id, ReferPhotograph(picture, paths[ref.image_id]))
        photograph.referents.append(Referent(ref, annotation, box))
    return list(photographs.values())


def _image(photograph: ReferPhotograph) -> Row:
    # of several splits (RefCOCOg by google, where leakage is allowed) the first
    split = min((referent.ref.split for referent in photograph.referents), key=SPLITS.index)
    picture = photograph.picture
    return image_row(picture.file_name, photograph.path, picture.size, split)


def _expressions(photograph: ReferPhotograph) -> list[Row]:
    image_id = photograph.picture.file_name
    return [
        expression_row(expression_id, image_id, text, "phrase", referent.ref.split)
        for referent in photograph.referents
        for expression_id, text in referent.expressions()
    ]


def _targets(photograph: ReferPhotograph, instances: Instances) -> list[Row]:
    size = photograph.picture.size
    ids, boxes, categories = _objects(instances.of_image[photograph.picture.image_id], size)
    rows = []
    for referent in photograph.referents:
        annotation = referent.annotation
        listed = annotation.annotation_id in ids
        mask = encoded_mask(annotation.segmentation, *size)
        rows += [
            target_row(
                expression_id,
                [referent.box_xyxy],
                mask=mask,
                category=instances.categories.get(annotation.category_id),
                distractors=categories[annotation.category_id] - int(listed),
                objects_xyxy=boxes if listed else None,
                object_index=ids.index(annotation.annotation_id) if listed else None,
            )
            for expression_id, _ in referent.expressions()
        ]
    return rows


def _objects(
    annotations: list[Annotation], size: tuple[int, int]
) -> tuple[list[str], list[Box], Counter[str]]:
    """Ids and boxes of a photograph's single objects (crowds are none), and how many of each category."""
    ids, boxes, categories = [], [], Counter[str]()
    for annotation in annotations:
        try:
            box = fit_box(annotation.box_xyxy, *size)
        except ValueError:
            continue
        if not annotation.crowd:
            ids.append(annotation.annotation_id)
            boxes.append(box)
            categories[annotation.category_id] += 1
    return ids, boxes, categories
