"""What the report says of photographs that are both trained on and evaluated on.

The study's own splits are compared by its tables, for every kind of data set; other data sets of the
family by the audit of stage `leakage`, which only those of REFER have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from camground.report.method_tables import markdown
from camground.report.results import Results
from camground.study import tables
from camground.study.errors import UserError
from camground.study.schemas import present


class Overlap(NamedTuple):
    """A split's photographs, and how many of them are trained on."""

    split: str
    photographs: int
    trained: int


@dataclass(frozen=True)
class Leakage:
    """`overlaps`: of every other split of the study than train, then of splits of other data sets that share
    photographs with its training; `sentences`: what they come to."""

    headings: ClassVar = ("Split", "Photographs", "Trained on here")

    overlaps: list[Overlap]
    sentences: list[str]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Cells below `headings`: the splits that share photographs."""
        return [
            (split, f"{count:,}", f"{trained:,} ({100 * trained / max(count, 1):.1f} %)")
            for split, count, trained in self.overlaps
            if trained
        ]

    def to_markdown(self) -> str:
        """The same as a section of a Markdown document."""
        text = "\n## Photographs trained and evaluated on\n\n" + " ".join(self.sentences) + "\n"
        return text + ("\n" + markdown(self.headings, self.rows) if self.rows else "")


def leakage(results: Results) -> Leakage:
    """Read the study's tables and, where there is one, its audit."""
    path = results.root / "data" / "expressions.parquet"
    texts = tables.read("expressions", path, ["image_id", "split"])
    images = {str(name): set(part["image_id"]) for name, part in texts.groupby("split")}
    trained = images.pop("train", set())
    own = [Overlap(s, len(images[s]), len(images[s] & trained)) for s in present(images)]
    file = results.root / "data" / "leakage.json"
    try:
        audit = dict(json.loads(file.read_text())) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); rerun `leakage`") from None
    siblings = [
        Overlap(f"{s['dataset']}({s['split_by']}) {s['split']}", s["of"], len(s["photographs"]))
        for s in audit.get("siblings", [])
    ]
    return Leakage(own + siblings, _sentences(own, siblings, len(trained), audit))


def _sentences(own: list[Overlap], siblings: list[Overlap], trained: int, audit: dict[str, Any]) -> list[str]:
    """What a reader must know, in order."""
    if any(overlap.trained for overlap in own):
        sentences = [
            "Photographs of this study's own evaluation are trained on (data.refer.allow_leakage):"
            " its numbers there say less than they seem to."
        ]
    else:
        names = ", ".join(overlap.split for overlap in own)
        sentences = [f"None of the {trained:,} photographs of train is in {names}."]
    if not audit:
        return sentences
    others = ", ".join(audit["compared"][1:])
    if siblings:
        sentences.append(
            f"Of the family, {others} were compared too. Some of their evaluation photographs are"
            " trained on here, which data.refer.allow_sibling_leakage permits, since those splits are"
            " not measured here: do not evaluate this study's models on them."
        )
    elif others:
        sentences.append(f"Nor is any evaluated on in {others}.")
    else:
        sentences.append(
            "No other data set of the family was in data_root, so none was compared with this one."
        )
    if audit["unreadable"]:
        unreadable = ", ".join(audit["unreadable"])
        sentences.append(f"Could not be read, and so not compared: {unreadable}.")
    return sentences
