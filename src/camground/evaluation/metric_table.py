"""Every metric of the study, once: what computes it, what it needs, how readers see it.

`evaluate` measures, `ablation` compares, the report and MLflow show what is listed here. A metric is the
mean of an outcome in [0, 1] over expressions, or over word swaps, and is shown as a percentage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np

    from camground.evaluation.outcomes import Measured
    from camground.evaluation.word_swaps import MeasuredSwaps

MeasuredType = TypeVar("MeasuredType")


@dataclass(frozen=True)
class Metric(Generic[MeasuredType]):
    """A metric: `name` in the tables, `heading` for readers.

    needs: what an expression must have for its outcome to be known. outcomes: gives (N,) float64, nan where
    not known. main: whether the metric is in the main table and in MLflow. note: what it says, below the
    report's table of it.
    """

    name: str
    heading: str
    needs: Literal["boxes", "objects", "proposals", "CAM", "own CAM", "scores", "swaps"]
    outcomes: Callable[[MeasuredType], np.ndarray]
    main: bool = False
    note: str = ""


WORD_CLASS = "word_class"
# The metric that the tests, the charts and the differences are of.
PRIMARY = "acc@0.5"
# The same of the chosen box, before the candidates around it vote on where it ends.
UNVOTED = "acc@0.5_unvoted"

OF_EXPRESSIONS: tuple[Metric[Measured], ...] = (
    Metric("acc@0.25", "Acc@0.25", "boxes", lambda m: m.accuracy(0.25), main=True),
    Metric("acc@0.25_unvoted", "Acc@0.25, no vote", "boxes", lambda m: m.unvoted.accuracy(0.25)),
    Metric(PRIMARY, "Acc@0.5", "boxes", lambda m: m.accuracy(0.5), main=True),
    Metric(UNVOTED, "Acc@0.5, no vote", "boxes", lambda m: m.unvoted.accuracy(0.5), main=True),
    Metric("acc@0.75", "Acc@0.75", "boxes", lambda m: m.accuracy(0.75), main=True),
    Metric("acc@0.75_unvoted", "Acc@0.75, no vote", "boxes", lambda m: m.unvoted.accuracy(0.75), main=True),
    Metric("iou", "Mean IoU", "boxes", lambda m: m.iou, main=True),
    Metric("iou_unvoted", "Mean IoU, no vote", "boxes", lambda m: m.unvoted.iou),
    Metric("pointing", "Pointing", "boxes", lambda m: m.pointing, main=True),
    Metric("recall@0.5", "Proposal recall@0.5", "proposals", lambda m: m.truth.recall),
    Metric("right_object", "Right object", "objects", lambda m: m.right_object, main=True),
    Metric("right_extent", "Right extent", "objects", lambda m: m.right_extent, main=True),
    Metric("cam_coverage", "CAM coverage", "own CAM", lambda m: m.cam["coverage"], main=True),
    Metric("cam_iou", "CAM IoU", "own CAM", lambda m: m.cam["iou"], main=True),
    Metric("cam_energy", "CAM energy", "own CAM", lambda m: m.cam["energy"], main=True),
    Metric("cam_spill", "CAM spill", "own CAM", lambda m: m.cam["spill"]),
    Metric("cam_entropy", "CAM entropy", "own CAM", lambda m: m.cam["entropy"]),
    Metric("image_score", "Image score", "scores", lambda m: m.image_score),
    Metric("erased_score", "Erased score", "scores", lambda m: m.erased_score),
    Metric(
        "presence_auc",
        "Presence AUC",
        "scores",
        lambda m: m.ranking,
        main=True,
        note="How often a phrase is likelier to be in its own image than a phrase of another image is to be"
        " in the image that it is asked of: the area under the ROC curve.",
    ),
    Metric(
        "found",
        "Found",
        "scores",
        lambda m: m.found(m.presence),
        note="How many phrases are found in their own image, at a probability of at least .5.",
    ),
    Metric(
        "false_box",
        "False boxes",
        "scores",
        lambda m: m.found(m.presence_other),
        main=True,
        note="How many phrases of other images are found where they do not belong, at the same probability."
        " Such a phrase has the words of no phrase of the image; that nothing in the image fits it all the"
        " same, nobody has checked, so some of these boxes are right.",
    ),
    Metric("matcher_cam_coverage", "Matcher CAM coverage", "CAM", lambda m: m.truth.cam["coverage"]),
    Metric("matcher_cam_iou", "Matcher CAM IoU", "CAM", lambda m: m.truth.cam["iou"]),
    Metric("matcher_cam_energy", "Matcher CAM energy", "CAM", lambda m: m.truth.cam["energy"]),
    Metric("matcher_cam_spill", "Matcher CAM spill", "CAM", lambda m: m.truth.cam["spill"]),
    Metric("matcher_cam_entropy", "Matcher CAM entropy", "CAM", lambda m: m.truth.cam["entropy"]),
)
# Of a word swap and its expression; see `word_swaps`.
OF_SWAPS: tuple[Metric[MeasuredSwaps], ...] = (
    Metric(
        "word_swap",
        "Word swap",
        "swaps",
        lambda m: m.image_score_falls,
        note="How often the image scores higher with the phrase than with its swap, over swaps that are"
        " false of the image. The floor is text_only, a bag of words that never sees the image.",
    ),
    Metric(
        "word_swap_object",
        "Word swap, object",
        "swaps",
        lambda m: m.object_score_falls,
        note="How often the best proposal of the true object (IoU of at least 0.5) scores higher with the"
        " phrase than with its swap. The floor is text_only, a bag of words that never sees the image.",
    ),
    Metric(
        "swap_moves",
        "Box moves",
        "swaps",
        lambda m: m.box_moves,
        note="How often a swap that may mean another object of the image moves the chosen box (IoU of the"
        " two boxes below 0.5). A grounder that ignores the word stays at 0.",
    ),
)
METRICS: dict[str, Metric[Any]] = {metric.name: metric for metric in OF_EXPRESSIONS}
METRICS |= {metric.name: metric for metric in OF_SWAPS}
MAIN = tuple(name for name, metric in METRICS.items() if metric.main)
# Key in the column `group`: its heading, after "by". Of word swaps the key `word_class` is the class of the
# changed word; an expression may be in several of its groups.
GROUPINGS = {
    "flavour": "flavour",
    "size": "size of the object",
    "distractors": "distractors of its category",
    "words": "number of words",
    WORD_CLASS: "class of words",
    "head": "head of the phrase",
}
