"""The config of the data: which kind, and the section of each kind.

`DataConfig` is the one registry of data kinds. A kind is a field of it whose type is a `KindSection`: its
name is the value of `data.kind`, its section says which keys it has, which module writes its tables and
which files a workflow must watch. Stage `data`, the rules and the schema of the config follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from camground.study.section import FilePath, NameOrPath, Section

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class KindSection(Section):
    """The keys of one kind of data, and what the stage and the rules must know of it."""

    module: ClassVar[str]
    """The module in camground.data whose function `write` writes the kind's tables (see `data.kinds`)."""

    makes_pictures: ClassVar[bool] = False
    """Whether it draws its pictures itself instead of reading photographs below `data_root`."""

    @classmethod
    def full_module(cls) -> str:
        """The full name of `module`. Spelled out nowhere, so that a stage that reads the config alone does
        not count as one that runs every kind (see `study.code_closure`)."""
        return f"camground.data.{cls.module}"

    def source_files(self) -> list[str]:
        """The files that name the photographs, relative to `data_root`: a change of one reruns `data`."""
        return []


class ScenesConfig(KindSection):
    """The scenes that are drawn here, without a download."""

    module: ClassVar[str] = "scenes.dataset"
    makes_pictures: ClassVar[bool] = True

    image_size: Annotated[int, Field(ge=64, le=512)] = 128
    """Side of a scene in pixels."""

    train: Annotated[int, Field(ge=2)] = 1600
    """Number of training scenes."""

    val: Annotated[int, Field(ge=2)] = 200
    """Number of validation scenes."""

    test: Count = 400
    """Number of test scenes."""

    min_objects: Annotated[int, Field(ge=2, le=10)] = 3
    """Fewest objects in a scene."""

    max_objects: Annotated[int, Field(ge=2, le=10)] = 7
    """Most objects in a scene."""

    expressions_per_scene: Annotated[int, Field(ge=1, le=24)] = 6
    """Referring expressions per scene, spread over the flavours."""

    swaps_per_expression: Annotated[int, Field(ge=0, le=8)] = 2
    """Copies of each expression with one word changed, so that it no longer means its object: hard
    negatives for training, and what the word-swap accuracy is measured on."""

    flavours: Annotated[tuple[Literal["ref", "ref+", "refg"], ...], Field(min_length=1)] = (
        "ref",
        "ref+",
        "refg",
    )
    """Flavours of the expressions, like those of the three RefCOCO sets."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.min_objects > self.max_objects:
            raise ValueError(f"min_objects ({self.min_objects}) is above max_objects ({self.max_objects})")
        if len(set(self.flavours)) < len(self.flavours):
            raise ValueError("flavours must name each flavour once")
        return self


class FolderConfig(KindSection):
    """A folder of one's own photographs."""

    module: ClassVar[str] = "readers.folder"

    captions: FilePath = "captions.csv"
    """CSV file in data_root with the columns image and caption."""

    phrases: FilePath | None = "phrases.csv"
    """CSV file in data_root with the columns image, phrase, x, y, width and height, for evaluation; it may
    be absent, or null."""

    images: FilePath = "images"
    """Folder of the photographs inside data_root."""

    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the captioned photographs kept for choosing by captions, at least two."""

    phrases_val_share: Share = 0.0
    """Share of the photographs with phrases that goes to val; the rest is test."""

    max_phrases_per_image: Count = 8
    """Noun phrases kept per training photograph."""

    min_phrase_count: Count = 2
    """Noun phrases that occur less often in the captions of training photographs are left out."""

    spacy_model: NameOrPath | None = None
    """Name or path of a spaCy pipeline that finds the noun phrases; null takes the stop-word splitter."""

    def source_files(self) -> list[str]:
        return [self.captions, *([self.phrases] if self.phrases else [])]


class ReferConfig(KindSection):
    """RefCOCO, RefCOCO+, RefCOCOg or ReferItGame in REFER's own files."""

    module: ClassVar[str] = "readers.refer"

    dataset: FilePath = "refcoco"
    """Folder in data_root with refs(<split_by>).p and instances.json."""

    split_by: Literal["unc", "google", "umd", "berkeley"] = "unc"
    """Whose splits, the name in brackets of the refs file."""

    images: FilePath = "images/mscoco/images/train2014"
    """Folder of the photographs inside data_root."""

    check_counts: bool = True
    """Refuse a data set that has not as many refs and expressions as were published; false for a subset."""

    allow_leakage: bool = False
    """Train on photographs that an evaluation split of the set, or of another of the family in data_root,
    holds too; otherwise they are refused."""

    allow_sibling_leakage: bool = False
    """The same for evaluation splits of the family's other sets alone."""

    def source_files(self) -> list[str]:
        folder = PurePosixPath(self.dataset)
        return [str(folder / f"refs({self.split_by}).p"), str(folder / "instances.json")]


class Flickr30kConfig(KindSection):
    """Flickr30k Entities."""

    module: ClassVar[str] = "readers.flickr30k"

    annotations: FilePath = "flickr30k_entities"
    """Folder in data_root with Sentences, Annotations, train.txt, val.txt and test.txt."""

    images: FilePath = "flickr30k_entities/flickr30k-images"
    """Folder of the photographs inside data_root."""

    def source_files(self) -> list[str]:
        return [str(PurePosixPath(self.annotations, f"{split}.txt")) for split in ("train", "val", "test")]


class DataConfig(Section):
    """Where the images and expressions come from."""

    kind: str = "scenes"
    """scenes are made here; folder reads the photographs of data_root; refer and flickr30k read the
    benchmarks there."""

    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the scenes, or of the split of a folder."""

    max_rejected_share: Share = 0.01
    """The stage stops when more than this share of the input rows is rejected."""

    scenes: ScenesConfig = ScenesConfig()
    folder: FolderConfig = FolderConfig()
    refer: ReferConfig = ReferConfig()
    flickr30k: Flickr30kConfig = Flickr30kConfig()

    @classmethod
    def kinds(cls) -> Mapping[str, type[KindSection]]:
        """The sections of all kinds of data, by the kind's name."""
        return {
            name: field.annotation
            for name, field in cls.model_fields.items()
            if isinstance(field.annotation, type) and issubclass(field.annotation, KindSection)
        }

    @property
    def chosen(self) -> KindSection:
        """The section of the kind that `kind` names."""
        section: KindSection = getattr(self, self.kind)
        return section

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, kind: str) -> str:
        if kind not in cls.kinds():
            raise ValueError(f"must be one of {', '.join(cls.kinds())}, not {kind!r}")
        return kind

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema["properties"]["kind"]["enum"] = list(cls.kinds())
        return schema
