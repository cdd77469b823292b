"""The schema of every Parquet table that passes between stages; `study.tables` reads and writes them.

Boxes are `xyxy` in pixels of the image: x1, y1 inclusive, x2, y2 exclusive, so width = x2 - x1.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

# Every split a data set may have. train is learnt from, val chooses; the others are evaluated:
# RefCOCO and RefCOCO+ call people testA and other objects testB.
SPLITS = ("train", "val", "test", "testA", "testB")
BOX = pa.list_(pa.float32(), 4)
BOXES = pa.list_(BOX)


def present(splits: Iterable[str]) -> list[str]:
    """The distinct `splits`, in the order of `SPLITS`."""
    return sorted(set(splits), key=SPLITS.index)


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


SCHEMAS: dict[str, pa.Schema] = {
    "images": pa.schema(
        [
            _field("image_id", pa.string()),
            # relative to the folder of the table's file, or absolute
            _field("path", pa.string()),
            _field("width", pa.int32()),
            _field("height", pa.int32()),
            _field("split", pa.string()),
        ]
    ),
    "expressions": pa.schema(
        [
            _field("expression_id", pa.string()),
            _field("image_id", pa.string()),
            _field("text", pa.string()),
            # "phrase": names one thing (a referring expression); "sentence": a whole caption;
            # "swap": a phrase with one word changed, which no longer means its object
            _field("kind", pa.string()),
            _field("split", pa.string()),
            # of a swap: the expression it was made from, the class of the changed word, and whether it
            # is known to be false of the image (it may also mean another object)
            _field("swap_of", pa.string(), nullable=True),
            _field("word_class", pa.string(), nullable=True),
            _field("false_of_image", pa.bool_(), nullable=True),
        ]
    ),
    # Read by `evaluate` alone: the label firewall.
    "targets": pa.schema(
        [
            _field("expression_id", pa.string()),
            _field("boxes_xyxy", BOXES),
            # COCO compressed RLE counts at the image's size; null where no mask is known
            _field("mask", pa.binary(), nullable=True),
            _field("flavour", pa.string(), nullable=True),
            _field("category", pa.string(), nullable=True),
            # objects of the same category in the image, the target not counted
            _field("distractors", pa.int32(), nullable=True),
            # all objects of the image and which of them is meant; null where not known
            _field("objects_xyxy", BOXES, nullable=True),
            _field("object_index", pa.int32(), nullable=True),
        ]
    ),
    # Input rows that were refused: file, 1-based row (0: the whole file), the offending value, why.
    "rejected": pa.schema(
        [
            _field("file", pa.string()),
            _field("row", pa.int64()),
            _field("value", pa.string()),
            _field("reason", pa.string()),
        ]
    ),
    # Where the tokens of each distinct text lie in the feature cache.
    "texts": pa.schema(
        [_field("text", pa.string()), _field("start", pa.int64()), _field("length", pa.int32())]
    ),
    "proposals": pa.schema(
        [
            _field("image_id", pa.string()),
            _field("rank", pa.int32()),
            _field("box_xyxy", BOX),
            _field("objectness", pa.float32()),
            _field("source", pa.string()),
        ]
    ),
    "cams": pa.schema(
        [
            _field("expression_id", pa.string()),
            _field("height", pa.int32()),
            _field("width", pa.int32()),
            # height * width bytes, row-major; 0 to 255 stands for 0 to 1
            _field("map", pa.binary()),
            _field("source", pa.string()),
        ]
    ),
    "history": pa.schema(
        [
            _field("step", pa.int64()),
            _field("epoch", pa.float64()),
            _field("name", pa.string()),
            _field("value", pa.float64()),
        ]
    ),
    "predictions": pa.schema(
        [
            _field("expression_id", pa.string()),
            # rank of the chosen proposal; -1 where the box is none of the proposals
            _field("rank", pa.int32()),
            _field("box_xyxy", BOX),
            _field("score", pa.float32()),
            # the method's own map, as in `cams`; null for a method without one
            _field("cam_height", pa.int32(), nullable=True),
            _field("cam_width", pa.int32(), nullable=True),
            _field("cam", pa.binary(), nullable=True),
            # S(I, q) and S(I*, q), probabilities; null for a method without them
            _field("image_score", pa.float32(), nullable=True),
            _field("erased_score", pa.float32(), nullable=True),
        ]
    ),
    # Each swap beside its expression, both grounded without the matcher's CAM.
    "swap_scores": pa.schema(
        [
            _field("expression_id", pa.string()),
            _field("swap_of", pa.string()),
            _field("word_class", pa.string()),
            _field("false_of_image", pa.bool_()),
            _field("split", pa.string()),
            _field("image_id", pa.string()),
            # logits of the image with the expression and with the swap
            _field("image_score", pa.float32()),
            _field("image_score_swap", pa.float32()),
            # the chosen proposals; null for an image without any, which Parquet cannot say of a `BOX`
            _field("box_xyxy", pa.list_(pa.float32()), nullable=True),
            _field("box_xyxy_swap", pa.list_(pa.float32()), nullable=True),
            # of the image's proposals in the order of their ranks
            _field("scores", pa.list_(pa.float32())),
            _field("scores_swap", pa.list_(pa.float32())),
        ]
    ),
    # One row per outcome of an expression or swap: what the metrics are means of, for paired tests.
    "outcomes": pa.schema(
        [
            _field("expression_id", pa.string()),
            _field("image_id", pa.string()),
            _field("split", pa.string()),
            _field("name", pa.string()),
            _field("value", pa.float64()),
        ]
    ),
    "metrics": pa.schema(
        [
            _field("dataset", pa.string()),
            _field("variant", pa.string()),
            _field("seed", pa.int32()),
            _field("split", pa.string()),
            _field("metric", pa.string()),
            # "all", or "key=value" such as "flavour=ref+"
            _field("group", pa.string()),
            _field("value", pa.float64()),
            _field("n", pa.int64()),
        ]
    ),
    "ablation": pa.schema(
        [
            _field("dataset", pa.string()),
            _field("variant", pa.string()),
            _field("split", pa.string()),
            _field("metric", pa.string()),
            _field("group", pa.string()),
            _field("seeds", pa.int32()),
            _field("n", pa.int64()),
            _field("mean", pa.float64()),
            # sample deviation over seeds; null with one seed
            _field("deviation", pa.float64(), nullable=True),
            # variant minus reference, its 95 % paired bootstrap interval by image, and p
            _field("difference", pa.float64(), nullable=True),
            _field("low", pa.float64(), nullable=True),
            _field("high", pa.float64(), nullable=True),
            _field("p", pa.float64(), nullable=True),
            _field("p_holm", pa.float64(), nullable=True),
        ]
    ),
}
