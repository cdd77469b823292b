"""The word-swap accuracy of the variants by the class of the changed word, as tables of the page."""

from __future__ import annotations

from dataclasses import dataclass

from camground.report.ablation_table import ABSENT, percent
from camground.report.results import Results

# Metric, title, note.
MEASURES = (
    (
        "word_swap",
        "The image",
        "How often the image scores higher with the phrase than with its swap, over swaps that are"
        " false of the image. Chance is 50.",
    ),
    (
        "word_swap_object",
        "The object that is meant",
        "How often the best proposal of the true object (IoU of at least 0.5) scores higher with the"
        " phrase than with its swap. Chance is 50.",
    ),
    (
        "swap_moves",
        "The chosen box",
        "How often a swap that may mean another object of the image moves the chosen box (IoU of both"
        " boxes below 0.5). A grounder that ignores the word stays at 0.",
    ),
)


@dataclass(frozen=True)
class Measured:
    """A metric's table. columns: a class of words and its n; rows: a variant and, for each column, the
    mean and the deviation as text, "" with one seed."""

    title: str
    note: str
    columns: list[tuple[str, int]]
    rows: list[tuple[str, list[tuple[str, str]]]]


def by_class(results: Results) -> list[Measured]:
    """A table for each metric of `MEASURES` that a variant has, all classes together first."""
    classes = results.groups("word_class")
    made = []
    for metric, title, note in MEASURES:
        counts: dict[str, int] = {}
        for group in ("all", *(f"word_class={name}" for name in classes)):
            found = [results.ablation.get((name, metric, group)) for name in results.variants]
            known = [row for row in found if row is not None]
            if known:  # all variants have the same swaps and proposals, so the same n
                counts[group] = int(known[0]["n"])
        variants = [name for name in results.variants if results.mean(name, metric) is not None]
        if variants:
            columns = [(group.removeprefix("word_class="), n) for group, n in counts.items()]
            rows = [(name, [_cell(results, name, metric, g) for g in counts]) for name in variants]
            made.append(Measured(title, note, columns, rows))
    return made


def _cell(results: Results, variant: str, metric: str, group: str) -> tuple[str, str]:
    row = results.ablation.get((variant, metric, group))
    if row is None:
        return ABSENT, ""
    return percent(row["mean"]), "" if row["deviation"] is None else percent(row["deviation"])
