"""Config section `report`: the HTML report of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from camground.evaluation.config import StudyMethods
from camground.evaluation.metric_table import GROUPINGS
from camground.report.supervision import SupervisionConfig
from camground.study.section import Distinct, Section

if TYPE_CHECKING:
    Grouping = str
else:
    Grouping = Literal[tuple(GROUPINGS)]


class GalleryConfig(Section):
    """How many expressions the gallery shows, in the order of a hash of their names."""

    successes: Annotated[int, Field(ge=0)] = 8
    """Number of right answers shown."""
    failures: Annotated[int, Field(ge=0)] = 12
    """Number of wrong answers shown."""


class ReportConfig(Section):
    """What the report shows; its split and its reference variant are those of section `ablation`."""

    groups: Annotated[tuple[Grouping, ...], Distinct] = tuple(GROUPINGS)
    """Groupings of the expressions that get a chart. `word_class` groups by the classes of words in the text;
    an expression may be in several of them."""
    gallery: GalleryConfig = GalleryConfig()
    """The expressions shown with photograph, boxes and maps."""


class ReportInput(StudyMethods, SupervisionConfig):
    """What stage `report` reads of the config; grounder, losses and train are the reference variant's."""

    report: ReportConfig = ReportConfig()
