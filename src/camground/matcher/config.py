"""The config's sections `matcher` and `gradcam`: the image-text matcher and how its Grad-CAM is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from camground.matcher.cam_sources import SOURCES, SourceName
from camground.study.optimiser import OptimiserConfig
from camground.study.section import NameOrPath, Section

# A method of Grad-CAM: the class of pytorch-grad-cam that draws the map. `gated`, which the study's own
# matcher alone has, is then kept to the thing that is meant (`matcher.gated_map`).
CAM_CLASSES = {
    "gated": "GradCAM",
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
    "eigengradcam": "EigenGradCAM",
}
if TYPE_CHECKING:
    CamMethod = str
    OwnCamMethod = str
else:
    OwnCamMethod = Literal[tuple(CAM_CLASSES)]
    CamMethod = Literal[tuple(name for name in CAM_CLASSES if name != "gated")]
Pixels = Annotated[int, Field(ge=1)]


class MatcherOptimiserConfig(OptimiserConfig):
    """How the matcher is trained."""

    epochs: Annotated[int, Field(ge=1)] = 40
    """Passes over the training images, at most."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images in a batch."""
    per_image: Annotated[int, Field(ge=1)] = 2
    """Expressions of each image in a batch, at most."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Learning rate after the first epoch."""


class MatcherConfig(Section):
    """The image-text matcher whose Grad-CAM enters the grounder, and on which the grounder is built."""

    kinds: Annotated[tuple[Literal["phrase", "sentence"], ...], Field(min_length=1)] = ("phrase",)
    """Kinds of expressions that it learns from: phrases, whole captions or both."""
    swaps: Annotated[float, Field(ge=0)] = 1.0
    """Weight of telling expressions from their swaps that are false of the image."""
    width: Annotated[int, Field(ge=4)] = 128
    """Channels of the joint space of images and texts, of the matcher and of the grounder."""
    blocks: Annotated[int, Field(ge=0)] = 1
    """Residual convolutions of the CNN over the backbone's grid."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Of the matcher's layers and of the grounder's."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Of the smooth maxima over the grid's cells and over proposals."""
    relations: Annotated[int, Field(ge=0)] = 2
    """Heads of the relations to landmarks that the words name; 0: none."""
    optimiser: MatcherOptimiserConfig = MatcherOptimiserConfig()
    """How it is trained."""


class BlipConfig(Section):
    """Gradient-weighted cross-attention of BLIP, for source blip.

    BLIP has read captions of COCO's photographs, those that RefCOCO evaluates among them; no boxes.
    """

    layer: int = 7
    """Layer of the text encoder whose cross-attention the map is, from 0, negative from the end; ALBEF takes
    layer 8 of its 12."""
    heads: int | Literal["mean"] = "mean"
    """The mean over the heads, or the number of one head."""
    tokens: int | Literal["mean", "max"] = "mean"
    """The mean or max over the expression's tokens, or the number of one, from 0, negative from the end; a
    shorter text gives its nearest."""
    special_tokens: bool = True
    """Whether [CLS] and [SEP] count among the tokens; padding never does."""


class ClipConfig(Section):
    """Grad-CAM of CLIP with a vision transformer, for source clip.

    CLIP and SigLIP have read pairs of the web; which photographs are among them is not known.
    """

    method: CamMethod = "gradcam"
    """Method of pytorch-grad-cam."""
    layer: int = -1
    """Layer of the image encoder at whose normed input the map is taken, from 0, negative from the end."""


class SiglipConfig(Section):
    """Grad-CAM of SigLIP, for source siglip."""

    method: CamMethod = "gradcam"
    """Method of pytorch-grad-cam."""
    layer: int | Literal["output"] = "output"
    """Layer of the image encoder, from 0, negative from the end, or output: the grid that the pooling head
    reads."""


class GradcamConfig(Section):
    """The Grad-CAM of image and expression, of the study's own matcher or of a pretrained model."""

    source: SourceName = "matcher"
    """Whose Grad-CAM; matcher is the study's own, blip, clip and siglip are pretrained vision-language models
    of transformers, which need model."""
    model: NameOrPath | None = None
    """Name on the hub, or folder, of the pretrained model; null for the matcher."""
    image_size: tuple[Pixels, Pixels] | None = None
    """Height and width in pixels that photographs are squashed to for the pretrained model, cut to whole
    patches; its position embeddings are interpolated. null is the model's own size."""
    method: OwnCamMethod = "gated"
    """Of the matcher: method of pytorch-grad-cam; gated is Grad-CAM kept to where it is joined to the cells
    that the score rests on, and near them."""
    box_threshold: Annotated[float, Field(ge=0, le=1)] = 0.4
    """Share of a map's maximum that its box is drawn around for the baseline gradcam_box."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Expressions in a batch."""
    blip: BlipConfig = BlipConfig()
    """Of source blip."""
    clip: ClipConfig = ClipConfig()
    """Of source clip."""
    siglip: SiglipConfig = SiglipConfig()
    """Of source siglip."""

    @model_validator(mode="after")
    def _pretrained_model_is_named(self) -> Self:
        if SOURCES[self.source].reads == "photographs" and self.model is None:
            raise ValueError(f"source is {self.source}, so set model: its name on the hub, or its folder")
        return self
