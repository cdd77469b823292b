"""The config's section `features`: which frozen networks describe photographs and texts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from camground.study.section import NameOrPath, Section, at_home

PACKAGED_BACKBONE, PACKAGED_LANGUAGE = "efficientnet_lite0", "minilm"
TIMM, AUTO = "timm/", "auto/"
BACKBONE = "backbone.safetensors"  # the weights of a tuned backbone, in its stage's folder and a model's


def _expanded(name: str) -> str:
    return AUTO + at_home(name.removeprefix(AUTO)) if name.startswith(AUTO) else name


class BackboneConfig(Section):
    """The frozen network that turns a photograph into a grid of features."""

    name: Annotated[str, AfterValidator(_expanded)] = PACKAGED_BACKBONE
    """efficientnet_lite0, whose weights a pip package ships; timm/<model>, any feature extractor of timm; or
    auto/<hub name or folder>, any backbone of transformers' AutoBackbone: ResNet, ConvNeXt, Swin, DINOv2."""
    checkpoint: NameOrPath | None = None
    """Weights of timm/<model>. hub: timm's own of that name; a file (.pth, .safetensors) or a folder with
    one, which must have all weights but the head's; null leaves them random."""
    weights: str | None = None
    """All weights of the network, as a file that the stage `tuning` writes; the workflow sets it. null: those
    that it comes with."""
    image_size: Annotated[int, Field(ge=32)] = 256
    """Photographs are resized to a square of so many pixels."""
    output_stride: Literal[8, 16, 32] | None = 16
    """Levels of a larger stride are dilated to this one, where timm's model can. null keeps the model's own
    strides, as every auto/ model and most transformers need."""
    levels: tuple[Annotated[int, Field(ge=0)], ...] = (1, 2, 3, 4)
    """timm's feature levels (of a ViT: its blocks), or AutoBackbone's stages (0: the stem), that make the
    grid. The low ones know colour and pattern."""
    grid: Annotated[int, Field(ge=2)] | None = 16
    """Cells on a side of the grid; null: those of the finest level."""

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if self.name != PACKAGED_BACKBONE and not self.name.startswith((TIMM, AUTO)):
            raise ValueError(
                f"name is {self.name!r}; it must be {PACKAGED_BACKBONE}, {TIMM}<model> or {AUTO}<hub name or"
                " folder>"
            )
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels must be different numbers, not {list(self.levels)}")
        if self.checkpoint is not None and not self.name.startswith(TIMM):
            raise ValueError(
                f"checkpoint is for {TIMM}<model> alone; {self.name!r} has its weights, so set it null"
            )
        if self.output_stride is not None and self.name.startswith(AUTO):
            raise ValueError(f"the strides of {self.name} are fixed; set output_stride: null")
        return self


class LanguageConfig(Section):
    """The frozen language encoder."""

    name: NameOrPath = PACKAGED_LANGUAGE
    """minilm, whose weights a pip package ships, or the hub name or folder of a text encoder that
    transformers' AutoModel loads: BERT, RoBERTa, DistilBERT, CLIP's text side, T5's encoder."""
    max_tokens: Annotated[int, Field(ge=1)] = 24
    """Longer texts are cut; no more than the model has positions for."""


class FeaturesConfig(Section):
    """Frozen features, computed once; every variant and seed trains on them."""

    backbone: BackboneConfig = BackboneConfig()
    """The frozen network for photographs."""
    language: LanguageConfig = LanguageConfig()
    """The frozen network for texts."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Photographs in a batch; texts go through in batches of four times as many."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the frozen passes. bfloat16 is about 3 times faster on machines that have it; on others
    it is float32 all the same, and the log says so."""
