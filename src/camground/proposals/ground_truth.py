"""Ground-truth boxes as proposals: a protocol of evaluation studies, never of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from camground.data.boxes import area
from camground.proposals.proposer import Photograph, Proposer
from camground.proposals.thinning import WHOLE, Proposals
from camground.study import tables
from camground.study.errors import UserError

SOURCE = "ground_truth"


class GroundTruth(Proposer):
    """All objects of an image, each with objectness 1; the whole image where none is known."""

    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        objects = read_objects(self.tables["targets"], self.tables["expressions"])
        for photograph in photographs:
            boxes, source = objects.get(photograph.image_id, np.zeros((0, 4))), SOURCE
            if not area(boxes).any():
                boxes, source = np.array([[0, 0, *photograph.size]], dtype=np.float32), WHOLE
            count = len(boxes)
            yield Proposals(boxes, np.ones(count, dtype=np.float32), [source] * count)


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
