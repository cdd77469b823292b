"""Tables of the methods for page and documents: by metric, split and group; word swaps; the whole study as
Markdown and as LaTeX, with what is special in each escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from tabulate import LATEX_ESCAPE_RULES, SEPARATING_LINE, tabulate

from camground.evaluation.metric_table import GROUPINGS, MAIN, METRICS, OF_SWAPS, PRIMARY, UNVOTED
from camground.report.ablation_table import ABSENT, AblationTable, Cell, percent

# What `tabulate` leaves as it is and LaTeX's text mode does not know.
_SYMBOLS = str.maketrans({"±": r"$\pm$", "−": "$-$", "≥": r"$\geq$", "–": "--", "“": "``", "”": "''"})
# Of whether what a phrase means is in the image at all.
PRESENCE = ("presence_auc", "found", "false_box")
READ_OUT_NOTE = (
    "Every method that scores candidates is read out alike: those that overlap the best one vote on where the"
    " box ends, by the ranks of their scores, unless a detector drew the best one. “No vote” is the best"
    " candidate's own box."
)


@dataclass(frozen=True)
class Line:
    """A method's line; `kind` as in `AblationTable.kinds`, a rule divides kinds."""

    name: str
    kind: str
    cells: list[Cell]


@dataclass(frozen=True)
class MethodTable:
    """Methods below `columns`: headings, each with its number of expressions, or None where that is said
    elsewhere. `corner`: the first column's heading. `title`, `note`: the metric's."""

    corner: str
    columns: list[tuple[str, int | None]]
    lines: list[Line]
    title: str = ""
    note: str = ""

    def to_markdown(self) -> str:
        """The same as a pipe table."""
        header = [name if n is None else f"{name} (n {n:,})" for name, n in self.columns]
        return markdown([self.corner, *header], [[line.name, *map(str, line.cells)] for line in self.lines])


def by_metric(table: AblationTable, metrics: Iterable[str]) -> MethodTable:
    """Every method's metrics on the report's split, the best of each column marked."""
    columns = {METRICS[metric].heading: table.column(metric) for metric in metrics}
    return MethodTable("Method", [(name, None) for name in columns], _lines(table, [*columns.values()]))


def by_split(table: AblationTable) -> MethodTable | None:
    """Every method's primary metric on every evaluated split; None where one alone is evaluated."""
    if len(table.splits) < 2:
        return None
    # every expression has an IoU, which `ablation` checks; other metrics may be of fewer
    rows = [(split, table.row(table.reference, "iou", split=split)) for split in table.splits]
    counts = [(split, None if row is None else int(row["n"])) for split, row in rows]
    cells = [table.column(split=split) for split in table.splits]
    return MethodTable(METRICS[PRIMARY].heading, counts, _lines(table, cells))


def by_group(
    table: AblationTable, key: str, metric: str = PRIMARY, overall: bool = False
) -> MethodTable | None:
    """The methods that have a metric, by the groups of `key`, if `overall` after all expressions; None
    without groups."""
    groups = {f"{key}={value}": n for value, n in table.groups(key, metric).items()}
    if not groups:
        return None
    if overall:
        # the group of all expressions is the only one of key "all", without a value
        groups = {"all": table.groups("all", metric)[""], **groups}
    measured = [name for name in table.kinds if table.row(name, metric) is not None]
    cells = [{name: table.cell(name, metric, group) for name in measured} for group in groups]
    columns = [(group.removeprefix(f"{key}="), n) for group, n in groups.items()]
    return MethodTable(
        "Method", [*columns], _lines(table, cells), METRICS[metric].heading, METRICS[metric].note
    )


def _lines(table: AblationTable, columns: list[dict[str, Cell]]) -> list[Line]:
    """The lines of the methods that the columns have a mean of: of boxes, `text_only` has none."""
    cells = {name: [column[name] for column in columns] for name in columns[0]}
    return [Line(name, table.kinds[name], of) for name, of in cells.items() if any(c != Cell() for c in of)]


def word_swaps(table: AblationTable) -> list[MethodTable]:
    """A table for each metric of word swaps that was measured, by the class of the changed word."""
    tables = [by_group(table, "word_class", metric.name, overall=True) for metric in OF_SWAPS]
    return [by_class for by_class in tables if by_class is not None]


def render_markdown(table: AblationTable) -> str:
    """The whole table for readers: main table, verdicts, groups, the other splits."""
    title = f"# Ablation on {table.dataset}\n\n"
    if table.row(table.reference) is None:
        return f"{title}No expression of split {table.split} has a target: nothing to compare.\n"
    main = markdown(*_main_table(table, table.kinds, table.split))
    parts = [title, main, f"\n{_notes(table)}\n\n", *(f"- {text}\n" for text in table.verdicts(table.kinds))]
    grouped = {key: by_group(table, key) for key in GROUPINGS}
    heading = METRICS[PRIMARY].heading
    parts += [f"\n## {heading} by {GROUPINGS[key]}\n\n{t.to_markdown()}" for key, t in grouped.items() if t]
    for t in word_swaps(table):
        parts.append(f"\n## {t.title} by class of the changed word\n\n{t.note}\n\n{t.to_markdown()}")
    for split in table.splits:
        if split != table.split:
            row = table.row(table.reference, split=split)
            n, images = row["n"] if row else 0, table.images.get(split, 0)
            parts.append(f"\n## Split {split}: {n:,} expressions of {images:,} images\n\n")
            parts.append(markdown(*_main_table(table, table.kinds, split)))
    return "".join(parts)


def render_latex(table: AblationTable) -> str:
    """The main table as LaTeX; a comment alone when there is nothing to compare."""
    if table.row(table.reference) is None:
        return f"% no expression of split {table.split} has a target: nothing to compare\n"
    header, variants = _main_table(table, table.variants, table.split)
    _, methods = _main_table(table, table.methods, table.split)
    _, baselines = _main_table(table, table.baselines, table.split)
    return latex(header, [variants, methods, baselines], _notes(table), f"tab:ablation-{table.dataset}")


def _main_table(table: AblationTable, names: Iterable[str], split: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows: of the study's split p, verdict and every main metric, of another the first few."""
    tested = split == table.split
    metrics = [name for name in MAIN if name not in (PRIMARY, UNVOTED)][: None if tested else 4]
    header = [METRICS[metric].heading for metric in (PRIMARY, UNVOTED)]
    header = ["Method", *header, f"Difference from {table.reference} [95 %]"]
    header += [*(["p (Holm)", "Verdict"] if tested else []), *(METRICS[metric].heading for metric in metrics)]
    rows = []
    for name in names:
        difference = table.difference(name, split)
        cells = [str(table.cell(name, metric, split=split)) for metric in (PRIMARY, UNVOTED, *metrics)]
        if set(cells) == {ABSENT}:
            continue
        test = [difference.p, difference.verdict if name != table.reference else ""] if tested else []
        rows.append([name, *cells[:2], str(difference), *test, *cells[2:]])
    return header, rows


def _notes(table: AblationTable) -> str:
    """What the numbers are: sample sizes, resampling, tests."""
    row, recall = table.row(table.reference), table.mean(table.reference, "recall@0.5")
    bound = "" if recall is None else f" Proposal recall@0.5: {percent(recall)}."
    return (
        f"Dataset {table.dataset}, split {table.split}: {row['n'] if row else 0} expressions of"
        f" {table.images.get(table.split, 0)} images; seeds {', '.join(map(str, table.seeds))}"
        " (baselines that no seed changes run once). Values are percentages, mean ± sample deviation over"
        f" seeds. {READ_OUT_NOTE} {table.statistics_note}{bound}"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table: the first column left, the others right; padded, so it reads as text too."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    return _tabulated(cells[0], cells[1:], "pipe") + "\n"


def escape_latex(text: str) -> str:
    """`text` for LaTeX's text mode."""
    escaped = "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)
    return escaped.translate(_SYMBOLS)


def latex(header: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]], caption: str, label: str) -> str:
    """A `table` environment with booktabs rules, a rule between blocks of rows."""
    rows = list(chain.from_iterable([SEPARATING_LINE, *rows] for rows in blocks if rows))[1:]
    return (
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escape_latex(caption)}}}\n\\label{{{label}}}\n"
        "\\resizebox{\\linewidth}{!}{%\n"
        f"{_tabulated(header, rows, 'latex_booktabs').translate(_SYMBOLS)}}}\n\\end{{table}}\n"
    )


def _tabulated(header: Sequence[str], rows: Sequence[Sequence[str]], form: str) -> str:
    alignment = ["left"] + ["right"] * (len(header) - 1)
    return str(tabulate(rows, header, tablefmt=form, colalign=alignment, disable_numparse=True))
