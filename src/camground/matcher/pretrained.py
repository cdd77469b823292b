"""Which pretrained vision-language model gives the Grad-CAM, and opening it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from camground.matcher.pretrained_cam import (
    BlipCamConfig,
    ClipCamConfig,
    PretrainedCam,
    SiglipCamConfig,
)
from camground.study.errors import UserError

SOURCES = ("blip", "clip", "siglip")


@dataclass(frozen=True)
class PretrainedConfig:
    """`source`: "matcher", our own, or one of `SOURCES`, and then `model`: its name on the hub or a folder.

    `image_size`: [height, width] in pixels that photographs are squashed to; None: the model's own. The
    section of the source's name says how its map is taken.
    """

    source: str = "matcher"
    model: str | None = None
    image_size: list[int] | None = None
    blip: BlipCamConfig = field(default_factory=BlipCamConfig)
    clip: ClipCamConfig = field(default_factory=ClipCamConfig)
    siglip: SiglipCamConfig = field(default_factory=SiglipCamConfig)


def open_pretrained(config: PretrainedConfig, where: torch.device) -> PretrainedCam:
    """The model of `gradcam.model`, ready on the device `where`; `UserError` names a wrong key."""
    cam: Any
    if config.source == "blip":
        from camground.matcher.blip import BlipCam

        cam = BlipCam(config.model, config.blip, config.image_size, where)
    elif config.source == "clip":
        from camground.matcher.clip import ClipCam

        cam = ClipCam(config.model, config.clip, config.image_size, where)
    elif config.source == "siglip":
        from camground.matcher.siglip import SiglipCam

        cam = SiglipCam(config.model, config.siglip, config.image_size, where)
    else:
        raise UserError(f"gradcam.source: {config.source!r} is not one of {['matcher', *SOURCES]}")
    opened: PretrainedCam = cam
    return opened
