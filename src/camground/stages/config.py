"""The config of a study: the rooms' sections joined, its variants, and what must fit together.

`StudyConfig` is where everything begins: rules read it, a stage is passed a part of it, and the schema for
editors and docs/config.md are made from it. A variant is a named difference of `grounder`, `losses` and
`train`, so that all variants share the data, the proposals and, seed by seed, the matcher and its Grad-CAM.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import typer
from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from camground.data.config import DataConfig
from camground.evaluation.baselines import BASELINES
from camground.evaluation.config import AblationConfig, EvaluateConfig, MethodConfig
from camground.features.config import FeaturesConfig
from camground.grounder.config import GrounderConfig, PredictConfig
from camground.matcher.cam_sources import SOURCES
from camground.matcher.config import GradcamConfig, MatcherConfig
from camground.proposals.config import ProposalsConfig
from camground.report.config import ReportConfig
from camground.study.layers import find, merge, merged_files, read_yaml
from camground.study.section import Distinct, FilePath, Section, problems, refuse, unknown_key
from camground.tracking.config import TrackingConfig
from camground.training.config import LossesConfig, TrainConfig, TuningConfig

# Names that a variant's target or folder would take from a rule, a baseline or a stage's folder.
RESERVED = frozenset(
    (
        *("all", "data", "proposals", "true_boxes", "tuning", "features", "matcher", "gradcam", "train"),
        *("predict", "evaluate", "methods", "baselines", "ablation", "report", "tracking"),
        *(
            "download",
            "leakage",
            "evaluate_method",
            "gradcam_of_seed",
            "logs",
            "benchmarks",
            "figures",
            "resume",
            "model",
        ),
        *BASELINES,
    )
)
INTRODUCTION = """\
A study's file holds what differs from `config.yaml`; `extends` names a file that lies between the two. The
defaults here are the default study. `snakemake --config 'train={optimiser: {epochs: 5}}'` changes a key for
once. `camground config show configs/refcoco.yaml` prints a study in full. Made by `camground config docs`.

In every path `~` is the home folder and braces are refused. A relative path starts in the folder that
Snakemake works in (`--directory`, or else where it was called), a path inside `data_root` there."""


class Variant(Section):
    """What a variant may change."""

    grounder: GrounderConfig = GrounderConfig()
    losses: LossesConfig = LossesConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _reconstruction_has_fixed_targets(self) -> Self:
        if self.losses.reconstruction and self.train.tuned.language:
            raise ValueError(
                "losses.reconstruction rebuilds the language encoder's vectors, which"
                " train.tuned.language moves; set one of the two to 0"
            )
        return self

    @model_validator(mode="after")
    def _every_part_is_trained(self) -> Self:
        grounder, losses = self.grounder, self.losses
        if grounder.regions_only and not grounder.fusion.enabled:
            if not (losses.contrastive or losses.of_scores):
                raise ValueError("losses: no loss trains the grounder; give one of them a weight")
        elif not losses.of_scores:
            raise ValueError(
                "losses: nothing trains the proposals' scores; give one of matching, swap_ranking,"
                " distillation and reconstruction a weight"
            )
        if grounder.cam_encoder.enabled and not losses.of_candidates:
            raise ValueError(
                "grounder.cam_encoder: it would stay random, since only distillation and reconstruction train"
                " scores that see the CAM; set cam_encoder.enabled to false, or give one of these losses a"
                " weight"
            )
        if losses.exclusion and self.train.optimiser.per_image < 2:
            raise ValueError(
                "losses.exclusion: it needs two expressions of an image; set train.optimiser.per_image to 2"
                " or more"
            )
        return self


class _Difference:
    """A mapping that is checked as a `Variant` once it is merged with the study's own sections."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.dict_schema(core_schema.str_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, _: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return handler(Variant.__pydantic_core_schema__)


def _free_name(name: str) -> str:
    if name in RESERVED:
        raise ValueError("the name is taken by a stage or a baseline; choose another")
    return name


VariantName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$"), AfterValidator(_free_name)]
Seed = Annotated[int, Field(ge=0)]
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_cam_encoder": {"grounder": {"cam_encoder": {"enabled": False}}},
    "no_attention_mining": {"losses": {"attention_mining": {"weight": 0.0}}},
    "no_transformer": {"grounder": {"transformer": {"enabled": False}}},
    "no_fusion": {"grounder": {"fusion": {"enabled": False}}},
    "baseline": {
        "grounder": {
            "cam_encoder": {"enabled": False},
            "transformer": {"enabled": False},
            "fusion": {"enabled": False},
        },
        "losses": {"attention_mining": {"weight": 0.0}},
    },
}


class StudyConfig(Section):
    """A study of camground; the defaults are the default study."""

    extends: FilePath | None = None
    """A study's file that lies under this one, such as configs/photographs.yaml; where the working directory
    has none of this name, the checkout's."""
    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")] = "scenes"
    """Name of the data set: of the folder in results_dir and of the MLflow experiment."""
    results_dir: FilePath = "results"
    """Folder of all results."""
    data_root: FilePath | None = None
    """Folder of photographs, or of the benchmarks; every data.kind but scenes needs it."""
    sources: FilePath | None = None
    """A YAML file laid over the table of where the benchmarks are downloaded from, such as `sources:
    {refcoco: {addresses: [http://...]}}`; null: the table as it is."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Distinct] = (0, 1)
    """Seeds of training: of each a matcher with its Grad-CAM, and one training per variant on them."""
    variants_to_run: Annotated[tuple[str, ...], Distinct] | None = None
    """Names of the variants in the study's table, in its order; null: all of them; []: nothing is trained,
    and `methods` and rows without training alone are compared."""
    variants: Annotated[dict[VariantName, Annotated[dict[str, Any], _Difference]], Field(min_length=1)] = (
        Field(default=VARIANTS)
    )
    """Named differences; each may change grounder, losses and train alone, so that all variants share data,
    proposals and, seed by seed, matcher and Grad-CAM."""
    methods: dict[VariantName, MethodConfig] = Field(default={})
    """Somebody else's boxes by the name of their row, such as {mdetr: {boxes: mdetr.json, supervision:
    "Boxes of RefCOCO."}}: rows of the table, its tests, the report and MLflow. Each has the keys boxes, a
    file, or detector, the name on the hub or the folder of an open-vocabulary detector that is prompted with
    each expression; supervision; and max_rejected_share (0.01)."""
    data: DataConfig = DataConfig()
    proposals: ProposalsConfig = ProposalsConfig()
    tuning: TuningConfig = TuningConfig()
    features: FeaturesConfig = FeaturesConfig()
    matcher: MatcherConfig = MatcherConfig()
    gradcam: GradcamConfig = GradcamConfig()
    grounder: GrounderConfig = GrounderConfig()
    losses: LossesConfig = LossesConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    ablation: AblationConfig = AblationConfig()
    tracking: TrackingConfig = TrackingConfig()
    report: ReportConfig = ReportConfig()

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """The config of a study, its variants and relations checked; `UserError` names all mistakes."""
        complaints: list[str] = []
        try:
            study = cls.model_validate(values)
        except ValidationError as error:
            complaints = [*problems(error, cls, path)]
        complaints += _variant_problems(values, complaints)
        complaints = complaints or [*study._relation_problems()]
        if complaints:
            refuse(complaints)
        return study

    @classmethod
    def load(cls, *paths: str | Path) -> Self:
        """The study that `snakemake --configfile paths` runs in the working directory.

        Where there is no config.yaml, nor one in the checkout, the study lies over the defaults.
        """
        base = Path(find("config.yaml"))
        return cls.parse(merged_files(read_yaml(base) if base.exists() else cls().to_dict(), *paths))

    def variant(self, name: str) -> Variant:
        """What the named variant trains with."""
        if name not in self.variants:
            refuse([unknown_key(f"variants.{name}", self.variants)])
        return Variant.parse(_merged_variant(self.to_dict(), name), f"variants.{name}")

    @property
    def variant_names(self) -> list[str]:
        """The variants of the study's table, in its order."""
        return list(self.variants if self.variants_to_run is None else self.variants_to_run)

    @property
    def has_maps(self) -> bool:
        """Whether there are Grad-CAMs: of the matcher that variants learn from, or of a pretrained one."""
        return bool(self.variant_names) or SOURCES[self.gradcam.source].reads == "photographs"

    @property
    def baseline_names(self) -> list[str]:
        """The rows without training that the study has what they need for: where nothing is trained, there
        are no word swaps to be told, and without Grad-CAMs none to read boxes out of."""
        swaps = bool(self.variant_names)
        listed = BASELINES.items()
        return [n for n, b in listed if (b.choose or swaps) and (self.has_maps or not b.own_map)]

    def part(self, *names: str, **extra: Any) -> str:
        """The named keys and `extra` as JSON text with sorted keys: a stage's `--config`.

        A section in full is `name`; one key of a section is `section.key`, at its own place.
        """
        chosen: dict[str, Any] = {}
        for name in names:
            source, target = self.to_dict(), chosen
            *parents, last = name.split(".")
            for parent in parents:
                source, target = source[parent], target.setdefault(parent, {})
            target[last] = source[last]
        return json.dumps(chosen | extra, sort_keys=True)

    def _relation_problems(self) -> Iterator[str]:
        """What no single section shows."""
        names = self.variant_names
        for name in names:
            if name not in self.variants:
                yield unknown_key(f"variants_to_run.{name}", self.variants)
        rows = names or [*self.methods, *(name for name in self.baseline_names if BASELINES[name].choose)]
        if self.ablation.reference not in rows:
            which = "the variants that run" if names else "the rows, as no variant runs"
            yield f"ablation.reference: {self.ablation.reference!r} is none of {which}: {', '.join(rows)}"
        for name in self.methods.keys() & self.variants.keys():
            yield f"methods.{name}: a variant has this name; choose another"
        if self.ablation.split not in self.evaluate.splits:
            yield (
                f"ablation.split: {self.ablation.split} is none of evaluate.splits:"
                f" {', '.join(self.evaluate.splits)}"
            )
        kind = self.data.kind
        if not self.data.chosen.makes_pictures and self.data_root is None:
            yield f"data_root: data.kind is {kind}, so give its folder: --config data_root=DIR"
        if kind == "folder" and self.data_root is not None and not Path(self.data_root).is_dir():
            yield f"data_root: no folder {self.data_root}"
        methods = self.methods.items()
        boxes = {f"methods.{name}.boxes": method.boxes for name, method in methods if method.boxes}
        for key, file in (self.proposals.user_files | boxes).items():
            if not Path(file).is_file():
                yield f"{key}: no file {file}"


def _merged_variant(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    base = {section: config.get(section, {}) for section in Variant.model_fields}
    return merge(base, config.get("variants", VARIANTS)[name])


def _variant_problems(config: Mapping[str, Any], complaints: Iterable[str]) -> Iterator[str]:
    """What is wrong with variants beyond the `complaints` about the sections that they change."""
    variants = config.get("variants", VARIANTS)
    for name, difference in variants.items() if isinstance(variants, Mapping) else ():
        if not isinstance(difference, Mapping):
            continue
        path = f"variants.{name}"
        merged = _merged_variant(config, name)
        for key in [key for key in merged if key not in Variant.model_fields]:
            if key in StudyConfig.model_fields:
                yield f"{path}.{key}: a variant may change only {', '.join(Variant.model_fields)}"
                del merged[key]
        try:
            Variant.model_validate(merged)
        except ValidationError as error:
            inherited = {f"{path}.{problem.partition(': ')[0]}" for problem in complaints}
            for problem in problems(error, Variant, path):
                if problem.partition(": ")[0] not in inherited:
                    yield problem


def config(
    action: Annotated[
        Literal["check", "show", "schema", "docs"],
        typer.Argument(help="Check studies, show one in full, or write the schema or the list of keys."),
    ],
    studies: Annotated[
        list[Path], typer.Argument(help="Study files, each checked alone; for show, laid over one another.")
    ] = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="File to write (default: standard output).")] = None,
) -> None:
    """Check or show the config of a study, or write what is made from the config's models.

    Every study lies over the config.yaml of the working directory, or else over the checkout's.
    """
    import yaml

    from camground.study.config_documents import json_schema, markdown

    if action == "check":
        for files in [[study] for study in studies] or [[]]:
            StudyConfig.load(*files)
        text = "no error\n"
    elif action == "show":
        values = StudyConfig.load(*studies).to_dict()
        text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    elif action == "schema":
        text = json.dumps(json_schema(StudyConfig), indent=1, ensure_ascii=False) + "\n"
    else:
        text = f"# Every key of the config\n\n{INTRODUCTION}\n\n{markdown(StudyConfig)}"
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
