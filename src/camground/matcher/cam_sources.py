"""The one registry of CAM sources, the image-text matchers whose Grad-CAM enters the grounder.

The stage `gradcam`, its rule, the config and inference all read it. To add a matcher, write a module with a
subclass of `camground.matcher.cam.CamSource` and enter it in `SOURCES`. Settings of its own are a
section of `GradcamConfig` under the source's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema


@dataclass(frozen=True)
class Source:
    """An image-text matcher that gives maps.

    cam: `module:class`, imported only when the source is used.
    reads: what it sees of an image: the study's cached features (then the matcher is the study's own, which
    the stage `matcher` trains), or the photograph (then it is a pretrained model, `gradcam.model`).
    """

    cam: str
    reads: Literal["features", "photographs"]


SOURCES: dict[str, Source] = {
    "matcher": Source("camground.matcher.gradcam:OwnCam", "features"),
    "blip": Source("camground.matcher.blip:BlipCam", "photographs"),
    "clip": Source("camground.matcher.clip:ClipCam", "photographs"),
    "siglip": Source("camground.matcher.siglip:SiglipCam", "photographs"),
}


def _registered(name: str) -> str:
    if name not in SOURCES:
        raise ValueError(f"{name!r} is not one of {', '.join(SOURCES)}")
    return name


SourceName = Annotated[
    str, AfterValidator(_registered), WithJsonSchema({"enum": list(SOURCES), "type": "string"})
]
