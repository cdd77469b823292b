"""Config sections `evaluate` and `ablation`: the protocol of the evaluation, and what it compares."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from camground.study.section import Distinct, FilePath, NameOrPath, Section

# What prompts a detector, by name: an edit of it reruns no file of boxes.
PROMPTED = "camground.evaluation.prompted:prompt_detector"

EvaluatedSplit = Literal["val", "test", "testA", "testB"]


class EvaluateConfig(Section):
    """The evaluation's protocol: what is predicted and measured, and what counts as right."""

    splits: Annotated[tuple[EvaluatedSplit, ...], Field(min_length=1), Distinct] = ("test",)
    """Splits whose expressions are predicted and evaluated."""
    proposals: Literal["detected", "ground_truth"] = "detected"
    """What every method chooses among on these splits: the boxes of `proposals.method` (detected), or the
    true boxes of the image's objects, a protocol of some studies. Training and the choice of the epoch see
    detected ones in either case."""
    iou_comparison: Literal[">=", ">"] = ">="
    """Whether an IoU equal to the threshold counts as right (>=) or as wrong (>)."""
    multiple_boxes: Literal["any_box", "merged_box"] = "any_box"
    """What a phrase with several boxes means: any of them, or the one box around all."""

    @property
    def proposals_file(self) -> str:
        """The table of these candidates in a study's results."""
        detected = self.proposals == "detected"
        return "proposals/proposals.parquet" if detected else "proposals/evaluated.parquet"


class AblationConfig(Section):
    """The study's table: what every method is compared with, and where."""

    reference: str = "full"
    """The variant that differences are taken from; also the one that the gallery shows and MLflow serves.
    Where no variant runs, one of `methods` or of the rows without training."""
    split: EvaluatedSplit = "test"
    """Split of the main table, of the tests that are adjusted by Holm, and of the report."""
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Resamples of the paired bootstrap, of images and seeds together."""


class MethodConfig(Section):
    """Somebody else's boxes of the evaluated expressions: a row of the tables, one of the study's tests.

    Either a file of `boxes`, or a `detector` that is prompted with each expression.
    """

    boxes: FilePath | None = None
    """COCO's results (a JSON list of image_id, bbox: [x, y, width, height], score), or a CSV with the columns
    expression_id, x, y, width, height, or x1, y1, x2, y2, and perhaps score; in pixels. `camground compare
    --expressions FILE` lists what is to be answered. An expression without a box counts as wrong."""
    detector: NameOrPath | None = None
    """An open-vocabulary detector of transformers (OWL-ViT, OWLv2, Grounding DINO), by its name on the hub or
    its folder: its box of the highest score for the expression is the answer."""
    supervision: Annotated[str, Field(pattern=r"\S")]
    """What the method has learnt from, in a sentence: report and MLflow state it."""
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """More entries of `boxes` that cannot be used stop the run."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.boxes is None) == (self.detector is None):
            given = "neither is" if self.boxes is None else "both are"
            raise ValueError(
                f"{given} given of boxes, a file, and detector, a model's name on the hub or folder; give one"
            )
        return self


class StudyMethods(Section):
    """What the tables of a study's methods are of: the input of `ablation`, and a part of the report's."""

    dataset: str
    seeds: tuple[int, ...]
    variants: tuple[str, ...]
    methods: dict[str, MethodConfig] = Field(default={})
    baselines: tuple[str, ...]
    ablation: AblationConfig = AblationConfig()

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """The seeds that a row has results of: somebody else's boxes, which no seed changes, the first's."""
        return self.seeds[:1] if name in self.methods else self.seeds
