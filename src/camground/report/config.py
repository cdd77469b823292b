"""Config section `report`: the HTML report of a study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from camground.study.section import Section

Grouping = Literal["flavour", "size", "distractors", "words", "word_class"]


class GalleryConfig(Section):
    """How many expressions the gallery shows, in the order of a hash of their names."""

    successes: Annotated[int, Field(ge=0)] = 8
    """Number of right answers shown."""
    failures: Annotated[int, Field(ge=0)] = 12
    """Number of wrong answers shown."""


class ReportConfig(Section):
    """What the report shows; its split and its reference variant are those of section `ablation`."""

    groups: tuple[Grouping, ...] = ("flavour", "size", "distractors", "words", "word_class")
    """Groupings of the expressions that get a chart. `word_class` groups by the classes of words in the text;
    an expression may be in several of them."""
    gallery: GalleryConfig = GalleryConfig()
    """The expressions shown with photograph, boxes and maps."""

    @field_validator("groups")
    @classmethod
    def _each_once(cls, groups: tuple[Grouping, ...]) -> tuple[Grouping, ...]:
        if len(set(groups)) < len(groups):
            raise ValueError(f"names a grouping twice: {', '.join(groups)}")
        return groups
