"""Sections of the config: text becomes values, and a mistake is told by its key and in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from camground.study.errors import UserError
from camground.study.section import Section, keys


class Inner(Section):
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A rate."""
    count: Annotated[int, Field(ge=1)] = 3
    """How many."""
    stride: Literal[8, 16] | None = 16
    """Pixels, or the model's own."""
    layer: int | Literal["output"] = 1
    """Which layer."""


class Outer(Section):
    mode: Literal["fast", "quality"] = "fast"
    """How."""
    inner: Inner = Inner()
    """Inside."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1)
    """Seeds."""
    enabled: bool = True
    """On or off."""
    root: str | None = None
    """A folder."""
    levels: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Levels."""
    size: tuple[Literal[8, 16], float] | None = None
    """Two numbers."""
    named: dict[Annotated[str, Field(pattern="^[a-z_]+$")], Inner] = Field({})
    """Names."""

    @model_validator(mode="after")
    def _fits(self) -> Outer:
        if self.mode == "quality" and not self.enabled:
            raise ValueError("mode quality needs enabled: true")
        return self


def test_text_becomes_what_the_key_wants() -> None:
    section = Outer.parse(
        {
            "seeds": ["0", "7"],
            "levels": ["1", "2"],
            "size": ["16", "0.5"],
            "enabled": "false",
            "root": "null",
            "inner": {"rate": "1e-1", "count": "3", "stride": "null", "layer": "output"},
            "named": {"new": {"count": "8"}},
        }
    )
    assert section == Outer(
        seeds=(0, 7),
        levels=(1, 2),
        size=(16, 0.5),
        enabled=False,
        inner=Inner(rate=0.1, count=3, stride=None, layer="output"),
        named={"new": Inner(count=8)},
    )
    assert Outer.parse({"root": 12}).root == "12"
    assert Inner.parse({"stride": "16"}).stride == 16


def test_plain_values_are_read_back() -> None:
    section = Outer(seeds=(4,), named={"new": Inner(count=2)})
    assert Outer.parse(section.to_dict()) == section


def test_a_section_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Outer().mode = "quality"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modes": 1}, "modes: unknown key; did you mean `mode`?"),
        ({"inner": {"conut": 1}}, "inner.conut: unknown key; did you mean `count`?"),
        ({"count": 1}, "count: unknown key; did you mean `inner.count`?"),
        ({"named": {"new": {"raet": 1}}}, "named.new.raet: unknown key; did you mean `rate`?"),
        ({"inner": {"zzzz": 1}}, "inner.zzzz: unknown key; known here: rate, count, stride, layer"),
        ({"inner": {"count": True}}, "inner.count: must be a number, not true"),
        ({"seeds": [True]}, "seeds: must be a number, not true"),
        ({"levels": [False]}, "levels: must be a number, not false"),
        ({"levels": [-1]}, "levels.0: must be at least 0, not -1"),
        ({"size": [8]}, "size.1: field required"),
        ({"inner": {"count": 0}}, "inner.count: must be at least 1, not 0"),
        ({"inner": {"count": 2.5}}, "inner.count: must be a whole number, not 2.5"),
        ({"inner": {"count": "many"}}, "inner.count: must be a whole number, not 'many'"),
        ({"inner": {"rate": "fast"}}, "inner.rate: must be a number, not 'fast'"),
        ({"inner": {"rate": 0}}, "inner.rate: must be more than 0.0, not 0"),
        ({"inner": {"rate": "2"}}, "inner.rate: must be at most 1.0, not '2'"),
        ({"inner": {"rate": ".nan"}}, "inner.rate: must be a number, not '.nan'"),
        ({"inner": {"rate": float("inf")}}, "inner.rate: must be a finite number, not inf"),
        ({"inner": {"stride": 4}}, "inner.stride: must be 8 or 16, not 4"),
        ({"inner": {"layer": "x"}}, "inner.layer: must be a whole number or 'output', not 'x'"),
        ({"mode": "fats"}, "mode: must be 'fast' or 'quality', not 'fats'"),
        ({"mode": None}, "mode: must be 'fast' or 'quality', not null"),
        ({"enabled": "perhaps"}, "enabled: must be true or false, not 'perhaps'"),
        ({"inner": None}, "inner: must hold keys, not null"),
        ({"inner": [1]}, "inner: must hold keys, not [1]"),
        ({"seeds": []}, "seeds: must hold at least 1, not []"),
        ({"seeds": [0, "x"]}, "seeds.1: must be a whole number, not 'x'"),
        ({"seeds": 3}, "seeds: must be a list, not 3"),
        ({"root": {}}, "root: must be text, not {}"),
        ({"named": {"New-One": {}}}, "named.New-One: must match ^[a-z_]+$, not 'New-One'"),
        ({"mode": "quality", "enabled": False}, "mode quality needs enabled: true"),
    ],
)
def test_a_mistake_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Outer.parse(given)
    assert str(caught.value) == f"the config has 1 error:\n  {message}"


def test_all_mistakes_are_told_at_once_by_their_dotted_paths() -> None:
    with pytest.raises(UserError) as caught:
        Inner.parse({"rate": 7, "count": 0, "cuont": 1}, "outer.inner")
    assert str(caught.value).splitlines() == [
        "the config has 3 errors:",
        "  outer.inner.cuont: unknown key; did you mean `count`?",
        "  outer.inner.rate: must be at most 1.0, not 7",
        "  outer.inner.count: must be at least 1, not 0",
    ]


def test_keys() -> None:
    inner = [f"inner.{name}" for name in ("rate", "count", "stride", "layer")]
    assert [*keys(Outer)] == ["mode", "inner", *inner, "seeds", "enabled", "root", "levels", "size", "named"]
