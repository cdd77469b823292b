"""A section of the config as the typed dataclass that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from camground.study.errors import UserError

Section = TypeVar("Section")


def parse(kind: type[Section], section: Mapping[str, Any]) -> Section:
    """`kind`, a dataclass, from a mapping; fields that are dataclasses are parsed from mappings too.

    A key that is left out keeps its default; an unknown one raises `UserError`.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise UserError(f"{kind.__name__}: unknown keys {unknown}; known are {known}")
    hints = get_type_hints(kind)
    return kind(
        **{
            name: parse(hints[name], value) if is_dataclass(hints[name]) else value
            for name, value in section.items()
        }
    )
