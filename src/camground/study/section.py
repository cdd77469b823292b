"""A section of the config: the one description of its keys, from which all else is made.

Each room describes its own keys beside the code that they configure, in its `config.py`, as a subclass of
`Section`: type, range, default and a sentence on each key. `camground.stages.config` joins the sections to
the config of a study. The check before any job, the schema for editors and docs/config.md come from there.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from camground.study.errors import UserError


class Section(BaseModel):
    """Keys with types, ranges, defaults and descriptions; immutable; an unknown key is an error.

    `snakemake --config` hands over everything inside {} and [] as text, and YAML takes 1e-4 for text, so
    text is read as the number, truth value or null that the key wants.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, coerce_numbers_to_str=True
    )

    @model_validator(mode="before")
    @classmethod
    def _text_to_values(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        wanted = {name: field.annotation for name, field in cls.model_fields.items()}
        return {
            key: _read(value, wanted[key]) if key in wanted else value
            for key, value in given.items()
        }

    @classmethod
    def parse(cls, given: Mapping[str, Any], path: str = "") -> Self:
        """The section from a mapping that stands at the dotted `path` of the config.

        Raises one `UserError` that names every wrong key by its dotted path, an unknown one with the
        nearest known name.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [*dict.fromkeys(_problems(error, cls, path))]
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise UserError("\n  ".join([f"the config has {count}:", *problems]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and YAML hold them; `parse` reads them back."""
        return self.model_dump(mode="json")


def keys(section: type[Section], path: str = "") -> Iterator[str]:
    """The dotted path of every key of a section and of the sections inside it."""
    for name, field in section.model_fields.items():
        yield _dotted(path, name)
        inner = section_of(field.annotation)
        if inner is not None:
            yield from keys(inner, _dotted(path, name))


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key's type is, or is a mapping to; None for a plain value."""
    for one in (annotation, *typing.get_args(annotation)):
        if isinstance(one, type) and issubclass(one, Section):
            return one
    return None


def unknown_key(path: str, siblings: list[str], everywhere: list[str]) -> str:
    """The complaint about the key at `path`, with the nearest of its siblings or of all dotted paths."""
    key = path.rpartition(".")[2]
    near = difflib.get_close_matches(key, siblings, n=1, cutoff=0.5)
    if not near:
        last = {full.rpartition(".")[2]: full for full in everywhere}
        near = [last[name] for name in difflib.get_close_matches(key, last, n=1)]
    if near:
        return f"{path}: unknown key; did you mean `{near[0]}`?"
    return f"{path}: unknown key; known here: {', '.join(siblings) or 'none'}"


def _read(value: Any, annotation: Any) -> Any:
    """Text as the null or the number of a choice that the key allows; a truth value is no number."""
    accepted = _members(annotation)
    for choice in (choice for one in accepted for choice in typing.get_args(one)):
        if isinstance(value, str) and isinstance(choice, int) and str(choice) == value:
            return choice
    if isinstance(value, str) and value.lower() == "null" and type(None) in accepted:
        return None
    if isinstance(value, bool) and bool not in accepted and {int, float} & accepted:
        raise ValueError(f"must be a number, not {str(value).lower()}")
    return value


def _members(annotation: Any) -> set[Any]:
    """The plain types that a key's type is made of."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return set().union(*(_members(one) for one in typing.get_args(annotation)))
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    return {annotation}


def _problems(error: ValidationError, section: type[Section], path: str) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        location = [part for part in problem["loc"] if not _is_type_name(part)]
        at = _dotted(path, *location)
        if problem["type"] == "extra_forbidden":
            holder: type[Section] | None = section
            for part in location[:-1]:
                field = holder.model_fields.get(str(part)) if holder is not None else None
                # the names of a mapping to sections are no keys of a section
                holder = section_of(field.annotation) if field is not None else holder
            siblings = list(holder.model_fields) if holder is not None else []
            yield unknown_key(at, siblings, list(keys(section, path)))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            yield f"{at}: {message}" if at else message


def _is_type_name(part: str | int) -> bool:
    """Pydantic names the member of a union that it tried, such as `int` or `list[str]`."""
    return isinstance(part, str) and not part.replace("_", "").replace("+", "").isidentifier()


def _dotted(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if part != "")
