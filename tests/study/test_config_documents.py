"""The schema for editors and the list of keys, as they are made from a section."""

from __future__ import annotations

from typing import Annotated, Literal

from jsonschema import Draft202012Validator
from pydantic import Field

from camground.study.config_documents import json_schema, markdown
from camground.study.section import Section


class Inner(Section):
    """What is inside: a|b.

    - first, that goes on
      here
    - second
    """

    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A rate of
    two lines."""
    title: Literal["a", "b"] | None = None
    """Named as a word of the schema."""


class Outer(Section):
    inner: Inner = Inner()
    """A section."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1)
    """Seeds<n>."""


def test_the_schema_checks_what_the_section_does() -> None:
    schema = json_schema(Outer)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid(Outer().model_dump(mode="json"))
    for wrong in ({"inner": {"rate": 0}}, {"seeds": [-1]}, {"innr": {}}, {"inner": {"title": "c"}}):
        assert not validator.is_valid(wrong)
    inner = schema["$defs"]["Inner"]
    assert inner["description"] == "What is inside: a|b.\n- first, that goes on here\n- second"
    assert inner["properties"]["rate"]["description"] == "A rate of two lines."
    assert "title" in inner["properties"]
    assert "title" not in schema


def test_the_list_of_keys() -> None:
    assert markdown(Outer) == (
        "| key | values | default |  |\n| --- | --- | --- | --- |\n"
        "| `seeds` | list of whole numbers ≥ 0 | `[0, 1]` | Seeds\\<n>. |\n\n"
        "## inner\n\nWhat is inside: a|b.\n\n- first, that goes on here\n- second\n\n"
        "| key | values | default |  |\n| --- | --- | --- | --- |\n"
        "| `inner.rate` | number > 0, ≤ 1 | `0.5` | A rate of two lines. |\n"
        "| `inner.title` | `a`, `b` or null | `null` | Named as a word of the schema. |\n"
    )
