"""The schema of every Parquet table that passes between stages; `study.tables` reads and writes them.

Boxes are `xyxy` in pixels of the image: x1, y1 inclusive, x2, y2 exclusive, so width = x2 - x1.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

# Every split a data set may have. train is learnt from, val chooses; the others are evaluated:
# RefCOCO and RefCOCO+ call people testA and other objects testB.
SPLITS = ("train", "val", "test", "testA", "testB")
TEXT, BYTES, BOOL = pa.string(), pa.binary(), pa.bool_()
INT32, INT64, FLOAT32, FLOAT64 = pa.int32(), pa.int64(), pa.float32(), pa.float64()
FLOATS = pa.list_(FLOAT32)
BOX = pa.list_(FLOAT32, 4)
BOXES = pa.list_(BOX)


def present(splits: Iterable[str]) -> list[str]:
    """The distinct `splits`, in the order of `SPLITS`."""
    return sorted(set(splits), key=SPLITS.index)


def _nullable(kind: pa.DataType) -> pa.Field:
    return pa.field("", kind, nullable=True)


def _schema(**columns: pa.DataType | pa.Field) -> pa.Schema:
    """Columns of these types, which hold no null but where `_nullable`."""
    return pa.schema(
        kind.with_name(name) if isinstance(kind, pa.Field) else pa.field(name, kind, nullable=False)
        for name, kind in columns.items()
    )


SCHEMAS: dict[str, pa.Schema] = {
    "images": _schema(
        image_id=TEXT,
        # relative to the folder of the table's file, or absolute
        path=TEXT,
        width=INT32,
        height=INT32,
        split=TEXT,
    ),
    "expressions": _schema(
        expression_id=TEXT,
        image_id=TEXT,
        text=TEXT,
        # "phrase": names one thing (a referring expression); "sentence": a whole caption;
        # "swap": a phrase with one word changed, which no longer means its object
        kind=TEXT,
        split=TEXT,
        # of a phrase: whether the data say where it is, so that an answer can be measured; where, `targets`
        # alone knows. Null for others
        boxed=_nullable(BOOL),
        # of a swap: the expression it was made from, the class of the changed word, and whether it
        # is known to be false of the image (it may also mean another object)
        swap_of=_nullable(TEXT),
        word_class=_nullable(TEXT),
        false_of_image=_nullable(BOOL),
    ),
    # Read by `evaluate` alone: the label firewall.
    "targets": _schema(
        expression_id=TEXT,
        boxes_xyxy=BOXES,
        # COCO compressed RLE counts at the image's size; null where no mask is known
        mask=_nullable(BYTES),
        flavour=_nullable(TEXT),
        category=_nullable(TEXT),
        # objects of the same category in the image, the target not counted
        distractors=_nullable(INT32),
        # all objects of the image and which of them is meant; null where not known
        objects_xyxy=_nullable(BOXES),
        object_index=_nullable(INT32),
    ),
    # Input rows that were refused: file, 1-based row (0: the whole file), the offending value, why.
    "rejected": _schema(file=TEXT, row=INT64, value=TEXT, reason=TEXT),
    # Where the tokens of each distinct text lie in the feature cache.
    "texts": _schema(text=TEXT, start=INT64, length=INT32),
    "proposals": _schema(
        image_id=TEXT,
        rank=INT32,
        box_xyxy=BOX,
        # from 0 to 1; of a detector's box the detector's score
        objectness=FLOAT32,
        source=TEXT,
        # what a detector says that the box holds; null for other boxes
        label=_nullable(TEXT),
    ),
    "cams": _schema(
        expression_id=TEXT,
        height=INT32,
        width=INT32,
        # height * width bytes, row-major; 0 to 255 stands for 0 to 1
        map=BYTES,
        source=TEXT,
    ),
    "history": _schema(step=INT64, epoch=FLOAT64, name=TEXT, value=FLOAT64),
    # The box of the highest score, no vote, after each epoch from 1, for the expressions of val that choose
    # the epoch. No target is in it. Null for an image without proposals, which Parquet cannot say of a `BOX`.
    "val_boxes": _schema(epoch=INT32, step=INT64, expression_id=TEXT, box_xyxy=_nullable(FLOATS)),
    # What choosing by captions can be compared with: after each epoch from 1 the score on val captions, and
    # the accuracy at IoU 0.5 of `val_boxes` over their n expressions with a target.
    "learning_curve": _schema(
        variant=TEXT, seed=INT32, epoch=INT32, step=INT64, score=FLOAT64, accuracy=FLOAT64, n=INT64
    ),
    "predictions": _schema(
        expression_id=TEXT,
        # rank of the chosen proposal; -1 where the chosen box is none of the proposals
        rank=INT32,
        # the answer, and the box of the highest score that was chosen before the vote
        box_xyxy=BOX,
        chosen_box_xyxy=BOX,
        score=FLOAT32,
        # the method's own map, as in `cams`; null for a method without one
        cam_height=_nullable(INT32),
        cam_width=_nullable(INT32),
        cam=_nullable(BYTES),
        # S(I, q) and S(I*, q), probabilities; null for a method without them
        image_score=_nullable(FLOAT32),
        erased_score=_nullable(FLOAT32),
        # the calibrated probabilities that the phrase is in its image, and a phrase of another image
        presence=_nullable(FLOAT32),
        presence_other=_nullable(FLOAT32),
    ),
    # Each swap beside its expression, both grounded without the matcher's CAM.
    "swap_scores": _schema(
        expression_id=TEXT,
        swap_of=TEXT,
        word_class=TEXT,
        false_of_image=BOOL,
        split=TEXT,
        image_id=TEXT,
        # logits of the image with the expression and with the swap
        image_score=FLOAT32,
        image_score_swap=FLOAT32,
        # the chosen proposals; null for an image without any, which Parquet cannot say of a `BOX`
        box_xyxy=_nullable(FLOATS),
        box_xyxy_swap=_nullable(FLOATS),
        # of the image's proposals in the order of their ranks
        scores=FLOATS,
        scores_swap=FLOATS,
    ),
    # One row per outcome of an expression or swap: what the metrics are means of, for paired tests.
    "outcomes": _schema(expression_id=TEXT, image_id=TEXT, split=TEXT, name=TEXT, value=FLOAT64),
    "metrics": _schema(
        dataset=TEXT,
        variant=TEXT,
        seed=INT32,
        split=TEXT,
        metric=TEXT,
        # "all", or "key=value" such as "flavour=ref+"
        group=TEXT,
        value=FLOAT64,
        n=INT64,
    ),
    "ablation": _schema(
        dataset=TEXT,
        variant=TEXT,
        split=TEXT,
        metric=TEXT,
        group=TEXT,
        seeds=INT32,
        n=INT64,
        mean=FLOAT64,
        # sample deviation over seeds; null with one seed
        deviation=_nullable(FLOAT64),
        # variant minus reference, its 95 % paired bootstrap interval over images and seeds, its p, that p
        # adjusted by Holm where it is one of the study's tests, and from how many resamples they are
        difference=_nullable(FLOAT64),
        low=_nullable(FLOAT64),
        high=_nullable(FLOAT64),
        p=_nullable(FLOAT64),
        p_holm=_nullable(FLOAT64),
        resamples=_nullable(INT32),
    ),
}
