"""Small tables of text as Markdown and LaTeX, with what is special in each escaped."""

from __future__ import annotations

from collections.abc import Sequence

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "≥": r"$\geq$",
    "<": r"$<$",
    ">": r"$>$",
    "–": "--",
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table: the first column left, the others right; padded, so it reads as text too."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    lines = [
        [cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(pairs)]
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    rule = ["-" * width if not i else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "".join("| " + " | ".join(line) + " |\n" for line in (lines[0], rule, *lines[1:]))


def escape_latex(text: str) -> str:
    """`text` for LaTeX's text mode."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(
    header: Sequence[str],
    blocks: Sequence[Sequence[Sequence[str]]],
    caption: str,
    label: str,
) -> str:
    """A `table` environment with booktabs rules, a rule between blocks of rows."""

    def line(cells: Sequence[str]) -> str:
        return "    " + " & ".join(escape_latex(cell) for cell in cells) + " \\\\\n"

    body = "    \\midrule\n".join("".join(map(line, rows)) for rows in blocks if rows)
    return (
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{escape_latex(caption)}}}\n  \\label{{{label}}}\n"
        "  \\resizebox{\\linewidth}{!}{%\n"
        f"  \\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n    \\toprule\n"
        f"{line(header)}    \\midrule\n{body}    \\bottomrule\n"
        "  \\end{tabular}}\n\\end{table}\n"
    )
