"""Config sections `grounder` and `predict`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from camground.study.section import Section

Share = Annotated[float, Field(gt=0, le=1)]
# The probability that a phrase is in the picture from which it counts as found (`grounder.presence`).
FOUND_FROM = 0.5


class CamEncoderConfig(Section):
    """The CAM encoder: how the matcher's Grad-CAM enters."""

    enabled: bool = True
    """Whether the grounder sees the matcher's Grad-CAM at all."""
    channels: Annotated[int, Field(ge=1)] = 16
    """Channels of its convolutions."""
    tokens: Annotated[int, Field(ge=1)] = 4
    """Side of the grid of CAM tokens that the fusion attends to."""
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of training pairs whose CAM is withheld."""
    control: Literal["none", "shuffled", "uniform", "centre"] = "none"
    """What the encoder is shown in place of the expression's CAM: nothing else (none), another expression's
    (shuffled), or a map that knows nothing of image and expression (uniform, centre)."""


class TransformerConfig(Section):
    """The transformer over the proposals' tokens and a pooled grid of the CNN's map."""

    enabled: bool = True
    """Whether there is one."""
    layers: Annotated[int, Field(ge=1)] = 1
    """Number of blocks."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads."""
    grid: Annotated[int, Field(ge=1)] = 4
    """Side of the grid of image tokens."""


class FusionConfig(Section):
    """The multi-modality fusion module."""

    enabled: bool = True
    """Whether there is one; without it visual, language and CAM features meet in products alone."""
    layers: Annotated[int, Field(ge=1)] = 1
    """Number of blocks."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Attention heads."""
    relations: Annotated[int, Field(ge=0)] = 2
    """Heads of the relations between proposals that the words name; 0: none."""


class LabelsConfig(Section):
    """How a detector's labels enter, where the proposals have any (methods detector and boxes_file)."""

    enabled: bool = True
    """Whether the grounder reads them, through the language encoder that reads the phrases."""


class GrounderConfig(Section):
    """The grounder. It is built on the matcher, whose width, temperature and relations it shares."""

    regions_only: bool = False
    """Score proposals alone, as region-level methods do: no cells in the image score, no cells and no own
    Grad-CAM in a proposal's."""
    own_gate: bool = True
    """Keep the own Grad-CAM to where the image score rests, as `gradcam.method: gated` does for the
    matcher's."""
    cam_encoder: CamEncoderConfig = CamEncoderConfig()
    """How the matcher's Grad-CAM enters."""
    transformer: TransformerConfig = TransformerConfig()
    """The transformer beside the CNN."""
    fusion: FusionConfig = FusionConfig()
    """The fusion over visual, language and CAM features."""
    labels: LabelsConfig = LabelsConfig()
    """How a detector's labels enter."""


class VotingConfig(Section):
    """How the box is read out: the mean of the candidates around the chosen one, by the rank of their scores;
    the same for every method that scores candidates, those without training included. A chosen box with a
    label, which a detector drew, is the answer as it is."""

    iou: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Overlap with the chosen box from which a candidate votes; 1: the chosen box alone."""
    decay: Share = 0.2
    """Weight of a vote beside that of the next higher score among the voters; 1: all alike."""
    map_weight: Annotated[float, Field(gt=0)] = 0.2
    """Of the vote of a map's box, which chooses well and ends badly, where that of a proposal is 1 that has
    the same rank among its kind."""


class PredictConfig(Section):
    """Prediction on the splits that are evaluated."""

    batch_size: Annotated[int, Field(ge=1)] = 64
    """Expressions in a batch."""
    map_boxes: tuple[Share, ...] = (0.3, 0.4, 0.5)
    """Shares of the own Grad-CAM's maximum at which boxes around it join the image's proposals as candidates:
    an object may have no proposal that fits."""
    voting: VotingConfig = VotingConfig()
    """How the box is read out of the scores."""
