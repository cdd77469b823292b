"""Ground-truth boxes as proposals: a protocol of evaluation studies, never of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from camground.data.boxes import area
from camground.proposals.thinning import WHOLE, Proposals
from camground.study import tables
from camground.study.errors import UserError

SOURCE = "ground_truth"


def read_objects(targets: str | Path, expressions: str | Path) -> dict[str, np.ndarray]:
    """Per image the boxes xyxy (K, 4) of its objects, or of its targets where no objects are known.

    Distinct and sorted by coordinates, so that neither order nor number says which one is meant.
    """
    asked = tables.read("expressions", expressions, columns=["expression_id", "image_id"])
    image_of = dict(zip(asked["expression_id"], asked["image_id"], strict=True))
    table = tables.read_arrow(
        "targets", targets, columns=["expression_id", "boxes_xyxy", "objects_xyxy"]
    )
    found: dict[str, set[tuple[float, ...]]] = {}
    for row in table.to_pylist():
        image = image_of.get(row["expression_id"])
        if image is None:
            raise UserError(
                f"{targets}: expression {row['expression_id']} is not in {expressions}; rerun `data`"
            )
        boxes = row["objects_xyxy"] or row["boxes_xyxy"]
        found.setdefault(image, set()).update(map(tuple, boxes))
    return {image: np.array(sorted(boxes), dtype=np.float32) for image, boxes in found.items()}


def propose(boxes_xyxy: np.ndarray | None, size: tuple[int, int]) -> Proposals:
    """All objects of an image, each with objectness 1; the whole image where none is known."""
    if boxes_xyxy is None or not area(boxes_xyxy).any():
        whole = np.array([[0, 0, *size]], dtype=np.float32)
        return Proposals(whole, np.ones(1, dtype=np.float32), [WHOLE])
    count = len(boxes_xyxy)
    return Proposals(boxes_xyxy, np.ones(count, dtype=np.float32), [SOURCE] * count)
