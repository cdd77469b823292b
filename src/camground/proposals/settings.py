"""The checked section `proposals` of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from camground.errors import UserError

METHODS = ("selective_search", "ground_truth")
MODES = ("fast", "quality")


@dataclass(frozen=True)
class Settings:
    """count: proposals kept per image, the whole image among them. input_size: longest side in
    pixels that the search sees; smaller pictures are not enlarged. min_size: smallest side of a box,
    as a share of the image's. nms_iou: kept boxes overlap one another no more, the whole image
    excepted. whole_image: keep it always; where nothing is found it is kept anyway."""

    method: str
    count: int
    input_size: int
    mode: str
    min_size: float
    nms_iou: float
    whole_image: bool


def read(config: dict[str, Any]) -> Settings:
    """`Settings` from `config["proposals"]`; `UserError` names the key that is wrong."""
    section = config.get("proposals")
    if not isinstance(section, dict):
        raise UserError("--config needs a section proposals")
    known = list(Settings.__dataclass_fields__)
    for key in (*known, *section):
        if key not in section or key not in known:
            problem = "is missing" if key not in section else "is not a key"
            raise UserError(f"proposals.{key} {problem}; the keys are {', '.join(known)}")
    made = Settings(**section)
    for key, good, wanted in (
        ("method", made.method in METHODS, "one of " + ", ".join(METHODS)),
        ("mode", made.mode in MODES, "one of " + ", ".join(MODES)),
        ("count", type(made.count) is int and made.count >= 1, "an integer from 1"),
        (
            "input_size",
            type(made.input_size) is int and made.input_size >= 32,
            "an integer from 32",
        ),
        ("min_size", _share(made.min_size), "a number from 0 to 1"),
        ("nms_iou", _share(made.nms_iou) and made.nms_iou > 0, "a number above 0, at most 1"),
        ("whole_image", isinstance(made.whole_image, bool), "true or false"),
    ):
        if not good:
            raise UserError(f"proposals.{key} is {section[key]!r}; it must be {wanted}")
    return made


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
