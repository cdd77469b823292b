"""Small tables of text as Markdown and LaTeX, with what is special in each escaped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from tabulate import LATEX_ESCAPE_RULES, SEPARATING_LINE, tabulate

# What `tabulate` leaves as it is and LaTeX's text mode does not know.
_SYMBOLS = str.maketrans({"±": r"$\pm$", "−": "$-$", "≥": r"$\geq$", "–": "--"})


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table: the first column left, the others right; padded, so it reads as text too."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    return _table(cells[0], cells[1:], "pipe") + "\n"


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
        f"{_table(header, rows, 'latex_booktabs').translate(_SYMBOLS)}}}\n\\end{{table}}\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], form: str) -> str:
    alignment = ["left"] + ["right"] * (len(header) - 1)
    return str(tabulate(rows, header, tablefmt=form, colalign=alignment, disable_numparse=True))
