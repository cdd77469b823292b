"""True boxes as candidates on the evaluated splits: a protocol of evaluation studies, never of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camground.data.boxes import area
from camground.proposals.thinning import WHOLE
from camground.study import tables
from camground.study.errors import UserError

SOURCE = "ground_truth"


def write_true_boxes(
    splits: Sequence[str], images: Path, expressions: Path, targets: Path, output: Path
) -> None:
    """Write the table `proposals` of the images of these splits: all objects of each, of objectness 1; the
    whole image where none is known."""
    objects = read_objects(targets, expressions)
    rows = []
    for image in tables.read_arrow("images", images).to_pylist():
        if image["split"] not in splits:
            continue
        boxes, source = objects.get(image["image_id"], np.zeros((0, 4))), SOURCE
        if not area(boxes).any():
            boxes, source = np.array([[0, 0, image["width"], image["height"]]]), WHOLE
        rows += [
            {
                "image_id": image["image_id"],
                "rank": n,
                "box_xyxy": box,
                "objectness": 1.0,
                "source": source,
                "label": None,  # a category of the truth
            }
            for n, box in enumerate(boxes.tolist())
        ]
    tables.write("proposals", rows, output)


def read_objects(targets: Path, expressions: Path) -> dict[str, np.ndarray]:
    """Per image the boxes xyxy (K, 4) of its objects, or of its targets where no objects are known.

    Distinct and sorted by coordinates, so that neither order nor number says which one is meant.
    """
    columns = tables.read("expressions", expressions, columns=["expression_id", "image_id"])
    image_of = dict(zip(columns["expression_id"], columns["image_id"], strict=True))
    table = tables.read_arrow("targets", targets, columns=["expression_id", "boxes_xyxy", "objects_xyxy"])
    objects: dict[str, set[tuple[float, ...]]] = {}
    for row in table.to_pylist():
        image = image_of.get(row["expression_id"])
        if image is None:
            raise UserError(
                f"{targets}: expression {row['expression_id']} is not in {expressions}; rerun `data`"
            )
        boxes = row["objects_xyxy"] or row["boxes_xyxy"]
        objects.setdefault(image, set()).update(map(tuple, boxes))
    return {image: np.array(sorted(boxes), dtype=np.float32) for image, boxes in objects.items()}
