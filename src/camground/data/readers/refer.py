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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camground.data.boxes import Box, fit_box
from camground.data.photographs import PhotographFile, inspect_all, locate
from camground.data.readers import leakage, refer_counts
from camground.data.readers.coco_instances import (
    Annotation,
    Instances,
    Picture,
    encoded_mask,
    read_instances,
)
from camground.data.readers.folder_files import inside_folder
from camground.data.readers.refer_files import Ref, Sources, read_refs, with_known_splits
from camground.data.readers.rejected import Rejected
from camground.data.readers.rows import expression_row, write_batches
from camground.study.errors import UserError
from camground.study.progress import log, track
from camground.study.schemas import SPLITS


def _match(
    refs: list[Ref], instances: Instances, path: Path, rejected: Rejected
) -> list[tuple[Ref, Picture, Annotation]]:
    """Refs with their picture and annotation; those without go to `rejected`."""
    matched = []
    seen: set[str] = set()
    for ref in refs:
        picture = instances.pictures.get(ref.image_id)
        annotation = instances.annotations.get(ref.annotation_id)
        problem = ""
        if picture is None:
            problem = f"image {ref.image_id} is not in instances.json"
        elif annotation is None:
            reason = instances.bad.get(ref.annotation_id, "is not in instances.json")
            problem = f"annotation {ref.annotation_id}: {reason}"
        elif annotation.image_id != ref.image_id:
            problem = f"annotation {ref.annotation_id} is of image {annotation.image_id}"
        elif ref.ref_id in seen:
            problem = "the ref comes twice"
        if problem or picture is None or annotation is None:
            rejected.add(path, ref.row, f"ref {ref.ref_id}", problem)
            continue
        seen.add(ref.ref_id)
        matched.append((ref, picture, annotation))
    return matched


def _inspect(
    folder: Path, pictures: list[Picture], source: Path, rejected: Rejected
) -> dict[str, Path]:
    """Where the usable photographs lie, by image id; each is decoded once.

    One that is missing, damaged or of another size than its boxes are made for is a rejected row.
    """
    named = {}
    for picture in pictures:
        try:
            named[picture.image_id] = inside_folder(picture.file_name)
        except ValueError as error:
            rejected.add(source, 0, f"image {picture.image_id}: {picture.file_name}", str(error))
    places = locate(folder, named.values())
    paths = [places[name] for name in named.values()]
    found = {}
    for image_id, path, photograph in zip(named, paths, inspect_all(paths), strict=True):
        found[image_id] = (path, photograph)
    usable = {}
    for picture in pictures:
        path, photograph = found.get(picture.image_id, (folder, PhotographFile()))
        problem = photograph.problem
        if not problem and photograph.width:
            if (photograph.width, photograph.height) == (picture.width, picture.height):
                usable[picture.image_id] = path
                continue
            problem = (
                f"{photograph.width} x {photograph.height} pixels, but instances.json has"
                f" {picture.width} x {picture.height}"
            )
        if problem:
            rejected.add(path, 0, picture.file_name, problem)
    return usable


class _Objects:
    """The objects of one photograph, boxes cut to it; crowds are not single objects."""

    def __init__(self, annotations: list[Annotation], picture: Picture) -> None:
        self.ids: list[str] = []
        self.boxes_xyxy: list[Box] = []
        self.categories: Counter[str] = Counter()
        for annotation in annotations:
            try:
                box = fit_box(annotation.box_xyxy, picture.width, picture.height)
            except ValueError:
                continue
            if not annotation.crowd:
                self.ids.append(annotation.annotation_id)
                self.boxes_xyxy.append(box)
                self.categories[annotation.category_id] += 1


class _Prepared:
    """The refs that can be used, and their rows."""

    def __init__(
        self,
        matched: list[tuple[Ref, Picture, Annotation]],
        instances: Instances,
        places: dict[str, Path],
        source: Path,
        rejected: Rejected,
    ) -> None:
        self.instances, self.places = instances, places
        self.of_image: dict[str, list[tuple[Ref, Picture, Annotation, Box]]] = {}
        for ref, picture, annotation in matched:
            if picture.image_id not in places:
                rejected.add(source, ref.row, f"ref {ref.ref_id}", "its photograph cannot be used")
                continue
            try:
                box = fit_box(annotation.box_xyxy, picture.width, picture.height)
            except ValueError as error:
                rejected.add(
                    source, ref.row, f"ref {ref.ref_id}: {annotation.box_xyxy}", str(error)
                )
                continue
            for sentence in ref.sentences:
                if not sentence.text:
                    value = f"ref {ref.ref_id}, sentence {sentence.sentence_id}"
                    rejected.add(source, ref.row, value, "a sentence without a letter")
            self.of_image.setdefault(ref.image_id, []).append((ref, picture, annotation, box))

    def refs(self) -> Iterator[Ref]:
        for refs in self.of_image.values():
            for ref, *_ in refs:
                yield ref

    def images(self) -> Iterator[dict]:
        for image_id, refs in self.of_image.items():
            picture = refs[0][1]
            # of several splits (RefCOCOg by google, where leakage is allowed) the first
            split = min((ref.split for ref, *_ in refs), key=SPLITS.index)
            yield {
                "image_id": picture.file_name,
                "path": str(self.places[image_id]),
                "width": picture.width,
                "height": picture.height,
                "split": split,
            }

    @staticmethod
    def _sentences(ref: Ref) -> Iterator[tuple[str, str]]:
        for number, sentence in enumerate(ref.sentences):
            if sentence.text:
                # its place, not its id: an id may come twice
                yield f"{ref.ref_id}#{number}", sentence.text

    def expressions(self) -> Iterator[dict]:
        for refs in self.of_image.values():
            for ref, picture, _, _ in refs:
                for name, text in self._sentences(ref):
                    yield expression_row(name, picture.file_name, text, "phrase", ref.split)

    def targets(self) -> Iterator[dict]:
        for image_id, refs in track(self.of_image.items(), "targets", total=len(self.of_image)):
            picture = refs[0][1]
            objects = _Objects(self.instances.of_image[image_id], picture)
            for ref, _, annotation, box in refs:
                known = annotation.annotation_id in objects.ids
                category = annotation.category_id
                mask = encoded_mask(annotation.segmentation, picture.height, picture.width)
                for name, _ in self._sentences(ref):
                    yield {
                        "expression_id": name,
                        "boxes_xyxy": [box],
                        "mask": mask,
                        "flavour": None,
                        "category": self.instances.categories.get(category),
                        "distractors": objects.categories[category] - int(known),
                        "objects_xyxy": objects.boxes_xyxy if known else None,
                        "object_index": objects.ids.index(annotation.annotation_id)
                        if known
                        else None,
                    }


def write(
    data: dict[str, Any],
    data_root: str | None,
    images: Path,
    expressions: Path,
    targets: Path,
    rejected: Path,
) -> None:
    """Read a data set of REFER in `data_root` and write images, expressions, targets and rejected; beside
    them leakage-refused.json, where training photographs are evaluated on and so it is refused.

    Args:
        data: config key `data`: `max_rejected_share` and `refer`.
        data_root: the folder that the module's text describes.

    Raises:
        UserError: a file is missing, damaged or harmful; training photographs are evaluated on; more
            rows are rejected than `data.max_rejected_share` allows; the counts are not the published
            ones.
    """
    config = data["refer"]
    dataset, split_by = config["dataset"], config["split_by"]
    sources = Sources(data_root, config)
    refused = Rejected()
    refs = read_refs(sources.refs, refused)
    checked = config["check_counts"] and refer_counts.published(dataset, split_by)
    if checked:
        # before the photographs are decoded: a file that broke off shows at once
        refer_counts.check(
            dataset, split_by, refer_counts.Counts.of(refs), f"as read from {sources.refs}"
        )
    refs = with_known_splits(refs, sources.refs)
    audit = leakage.audit(sources.root, dataset, split_by, refs)
    listing = images.parent / "leakage-refused.json"
    audit.write(listing)
    audit.settle(leakage.allowed_by(config), listing)
    listing.unlink()  # it was not refused

    instances = read_instances(sources.instances)
    matched = _match(refs, instances, sources.refs, refused)
    pictures = list({picture.image_id: picture for _, picture, _ in matched}.values())
    places = _inspect(sources.images, pictures, sources.instances, refused)
    prepared = _Prepared(matched, instances, places, sources.refs, refused)
    total = len(refs) + sum(len(ref.sentences) for ref in refs) + len(pictures)
    refused.settle(total, data["max_rejected_share"], rejected)
    counts = refer_counts.Counts.of(prepared.refs())
    if not counts.refs["train"]:
        raise UserError(f"{sources.refs}: no usable ref of split train is left to train on")
    if checked:
        refer_counts.check(dataset, split_by, counts, "prepared")

    write_batches("images", prepared.images(), images)
    write_batches("expressions", prepared.expressions(), expressions)
    write_batches("targets", prepared.targets(), targets)
    of_split = {ref.split: set[str]() for ref in prepared.refs()}
    for ref in prepared.refs():
        of_split[ref.split].add(ref.image_id)
    for split in sorted(of_split, key=SPLITS.index):
        log.info(
            "%s: %d photographs, %d objects, %d phrases",
            split,
            len(of_split[split]),
            counts.refs[split],
            counts.expressions[split],
        )
