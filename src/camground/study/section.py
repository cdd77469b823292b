"""A section of the config: the one description of its keys, from which all else is made.

Each room describes its own keys beside the code that they configure, in its `config.py`, as a subclass of
`Section`: type, range, default and a sentence on each key. `camground.stages.config` joins the sections to
the config of a study. The check before any job, the schema for editors and docs/config.md come from there.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from camground.study.errors import UserError

Values = TypeVar("Values", bound=tuple[Any, ...])


def _distinct(values: Values) -> Values:
    twice = [str(value) for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise ValueError(f"names {', '.join(twice)} twice")
    return values


def at_home(path: str) -> str:
    """A path with the home folder in place of its `~`; as it is where there is no such user."""
    with suppress(RuntimeError):
        return str(Path(path).expanduser()) if path.startswith("~") else path
    return path


def _without_braces(path: str) -> str:
    if "{" in path or "}" in path:
        raise ValueError(f"braces are wildcards to Snakemake; rename {path}")
    return path


# Of a list whose values must differ.
Distinct = AfterValidator(_distinct)
# A published model by its name on a hub, or by its folder; `~` is the home folder.
NameOrPath = Annotated[str, Field(min_length=1), AfterValidator(at_home)]
# A file or folder. A relative one is below data_root where its description says so, or else below the folder
# that Snakemake works in.
FilePath = Annotated[NameOrPath, AfterValidator(_without_braces)]


class Section(BaseModel):
    """Keys with types, ranges, defaults and descriptions; immutable; an unknown key is an error.

    `snakemake --config` hands over everything inside {} and [] as text, and YAML takes 1e-4 for text, so
    text is read as the number, truth value or null that the key wants.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: Any, info: ValidationInfo) -> Any:
        return _read(value, cls.model_fields[str(info.field_name)].annotation)

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """The section from a mapping that stands at the dotted `path` of the config.

        Raises one `UserError` that names every wrong key by its dotted path, an unknown one with the
        nearest known name.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            refuse(problems(error, cls, path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and YAML hold them; `parse` reads them back."""
        return self.model_dump(mode="json")


def refuse(complaints: Iterable[str]) -> typing.NoReturn:
    """One `UserError` for all problems of a config."""
    lines = [*dict.fromkeys(complaints)]
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    raise UserError("\n  ".join([f"the config has {count}:", *lines]))


def problems(error: ValidationError, section: type[Section], path: str = "") -> Iterator[str]:
    """What is wrong with a config whose `section` stands at the dotted `path`, one line per key."""
    demands: dict[tuple[str, str], list[str]] = {}  # of a union, what each of its members wants
    for detail in error.errors(include_url=False):
        parts, holder = _locate(section, detail["loc"])
        at = dotted(path, *parts)
        if detail["type"] == "extra_forbidden":
            yield unknown_key(at, holder.model_fields, keys(section, path))
        elif (demand := _demand(detail)) is not None:
            demands.setdefault((at, _shown(detail["input"])), []).append(demand)
        else:
            message = detail["msg"].removeprefix("Value error, ")
            yield f"{at}: {message[:1].lower() + message[1:]}" if at else message
    for (at, value), wanted in demands.items():
        either = [wanted[0], *(other.removeprefix("be ") for other in wanted[1:])]
        yield f"{at or 'config'}: must {' or '.join(either)}, not {value}"


def keys(section: type[Section], path: str = "") -> Iterator[str]:
    """The dotted path of every key of a section and of the sections inside it."""
    for name, field in section.model_fields.items():
        yield dotted(path, name)
        inner = section_of(field.annotation)
        if inner is not None:
            yield from keys(inner, dotted(path, name))


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key's type is, or is optionally; None for a plain value or a mapping."""
    members = typing.get_args(annotation) if _is_union(annotation) else [annotation]
    for member in members:
        if isinstance(member, type) and issubclass(member, Section):
            return member
    return None


def unknown_key(path: str, siblings: Iterable[str], everywhere: Iterable[str] = ()) -> str:
    """The complaint about the key at `path`, with the nearest of its siblings or of all dotted paths."""
    key = path.rpartition(".")[2]
    siblings = list(siblings)
    near = difflib.get_close_matches(key, siblings, n=1, cutoff=0.5)
    if not near:
        last = {full.rpartition(".")[2]: full for full in everywhere}
        near = [last[name] for name in difflib.get_close_matches(key, last, n=1)]
    if near:
        return f"{path}: unknown key; did you mean `{near[0]}`?"
    return f"{path}: unknown key; known here: {', '.join(siblings) or 'none'}"


def dotted(*parts: Any) -> str:
    """The path of a key: the names that lead to it, joined by dots."""
    return ".".join(str(part) for part in parts if part != "")


def _read(value: Any, annotation: Any) -> Any:
    """Text as the null or the number of a choice that the key allows; a truth value is no number."""
    members = _members(annotation)
    if isinstance(value, list | tuple):
        inner = [part for member in members for part in typing.get_args(member)]
        return [_read(item, inner[0]) for item in value] if inner else value
    if isinstance(value, str) and value.lower() == "null" and type(None) in members:
        return None
    if isinstance(value, str) and str not in members:
        options = {str(option): option for option in members if isinstance(option, int)}
        return options.get(value, value)
    if isinstance(value, bool) and bool not in members and {int, float} & members:
        raise ValueError(f"must be a number, not {_shown(value)}")
    return value


def _members(annotation: Any) -> set[Any]:
    """The types, and the options of a `Literal`, that a key's type is made of."""
    if _is_union(annotation):
        return set().union(*(_members(member) for member in typing.get_args(annotation)))
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return {annotation}


def _is_union(annotation: Any) -> bool:
    return isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union


def _locate(section: type[Section], location: Iterable[str | int]) -> tuple[list[str], type[Section]]:
    """The keys on the way to a problem, and the section that holds the last of them.

    Pydantic's location also names the member of a union that it tried, such as `int` or `list[str]`, and
    marks the key of a mapping as `[key]`.
    """
    parts, holder = [], section
    annotation: Any = section
    for part in location:
        inner = section_of(annotation)
        if part == "[key]":
            continue
        if inner is not None:
            holder = inner
            field = inner.model_fields.get(str(part))
            annotation = field.annotation if field is not None else None
            parts.append(str(part))
        elif isinstance(part, int):
            parts.append(str(part))
        elif typing.get_origin(annotation) in (dict, Mapping):
            annotation = typing.get_args(annotation)[1]
            parts.append(part)
    return parts, holder


def _demand(detail: ErrorDetails) -> str | None:
    """What a value must be or do, as a person says it; None for the rarer kinds of problems."""
    limit = detail.get("ctx", {})
    kind = detail["type"]
    demands = {
        "int": "be a whole number",
        "float": "be a number",
        "bool": "be true or false",
        "string_type": "be text",
        "string_too_short": "be some text",
        "string_pattern_mismatch": f"match {limit.get('pattern')}",
        "literal_error": f"be {limit.get('expected')}",
        "tuple_type": "be a list",
        "list_type": "be a list",
        "model_type": "hold keys",
        "model_attributes_type": "hold keys",
        "dict_type": "hold keys",
        "greater_than": f"be more than {limit.get('gt')}",
        "greater_than_equal": f"be at least {limit.get('ge')}",
        "less_than": f"be less than {limit.get('lt')}",
        "less_than_equal": f"be at most {limit.get('le')}",
        "finite_number": "be a finite number",
        "too_short": f"hold at least {limit.get('min_length')}",
        "too_long": f"hold at most {limit.get('max_length')}",
    }
    return demands.get(kind) or demands.get(kind.partition("_")[0])


def _shown(value: Any) -> str:
    """A value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
