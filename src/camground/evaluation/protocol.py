"""The evaluation's protocol: the config's keys as typed, checked values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar

from camground.study.errors import UserError

Settings = TypeVar("Settings")


def settings(kind: type[Settings], section: Any, name: str) -> Settings:
    """`section` of the config as dataclass `kind`; `UserError` on missing and unknown keys."""
    if not isinstance(section, dict):
        raise UserError(f"config: `{name}` is missing or not a mapping")
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    missing = [key for key in known if key not in section]
    unknown = [key for key in section if key not in known]
    if missing or unknown:
        raise UserError(f"config `{name}`: missing keys {missing}, unknown keys {unknown}")
    return kind(**section)


def one_of(value: str, allowed: tuple[str, ...], key: str) -> None:
    """`UserError` unless `value` is one of `allowed`."""
    if value not in allowed:
        raise UserError(f"config `{key}`: {value!r} is none of {', '.join(allowed)}")


@dataclass(frozen=True)
class Protocol:
    """Config section `evaluate`; see `config.yaml` for what each key means."""

    splits: list[str]
    iou_comparison: str
    legacy_iou: bool
    multiple_boxes: str
    map_side: int
    map_threshold: float
    size_edges: list[float]
    word_edges: list[int]

    def __post_init__(self) -> None:
        one_of(self.iou_comparison, (">=", ">"), "evaluate.iou_comparison")
        one_of(self.multiple_boxes, ("any_box", "merged_box"), "evaluate.multiple_boxes")
        if len(self.size_edges) != 2 or not 0 < self.size_edges[0] < self.size_edges[1] < 1:
            raise UserError("config `evaluate.size_edges`: two growing shares between 0 and 1")
        words = [0, *self.word_edges]
        if any(low >= high for low, high in pairwise(words)):
            raise UserError("config `evaluate.word_edges`: growing whole numbers above 0")
        if not 0 < self.map_threshold <= 1:
            raise UserError("config `evaluate.map_threshold`: above 0, at most 1")
        if self.map_side < 1:
            raise UserError("config `evaluate.map_side`: at least 1")
