"""The ablation table as Markdown, with verdicts, groups and the other splits, and as LaTeX."""

from __future__ import annotations

from camground.evaluation.metric_table import GROUPINGS, MAIN, METRICS, PRIMARY
from camground.report.ablation_table import AblationTable, percent
from camground.report.method_tables import by_group
from camground.report.text_tables import latex, markdown


def render_markdown(table: AblationTable) -> str:
    """The whole table for readers: main table, verdicts, groups, the other splits."""
    title = f"# Ablation on {table.dataset}\n\n"
    if table.row(table.reference) is None:
        return f"{title}No expression of split {table.split} has a target: nothing to compare.\n"
    names = list(table.kinds)
    parts = [title, markdown(_header(table), _lines(table, names)), f"\n{_notes(table)}\n\n"]
    parts += [f"- {sentence}\n" for sentence in table.verdicts(names)]
    grouped = {key: by_group(table, key) for key in GROUPINGS}
    heading = METRICS[PRIMARY].heading
    parts += [f"\n## {heading} by {GROUPINGS[key]}\n\n{t.to_markdown()}" for key, t in grouped.items() if t]
    for split in table.splits:
        if split != table.split:
            row = table.row(table.reference, split=split)
            n, images = row["n"] if row else 0, table.images.get(split, 0)
            parts.append(f"\n## Split {split}: {n:,} expressions of {images:,} images\n\n")
            parts.append(markdown(_header(table, split), _lines(table, names, split)))
    return "".join(parts)


def render_latex(table: AblationTable) -> str:
    """The main table as LaTeX; a comment alone when there is nothing to compare."""
    if table.row(table.reference) is None:
        return f"% no expression of split {table.split} has a target: nothing to compare\n"
    blocks = [_lines(table, names) for names in (table.variants, table.baselines)]
    return latex(_header(table), blocks, _notes(table), f"tab:ablation-{table.dataset}")


def _metrics(table: AblationTable, split: str | None) -> list[str]:
    """The metrics beside the primary one: of the study's split all, of another the first few."""
    others = [name for name in MAIN if name != PRIMARY]
    return others if split in (None, table.split) else others[:3]


def _header(table: AblationTable, split: str | None = None) -> list[str]:
    tested = ["p (Holm)"] if split in (None, table.split) else []
    headings = [METRICS[metric].heading for metric in _metrics(table, split)]
    difference = f"Difference from {table.reference} [95 %]"
    return ["Method", METRICS[PRIMARY].heading, difference, *tested, *headings]


def _lines(table: AblationTable, names: list[str], split: str | None = None) -> list[list[str]]:
    lines = []
    for name in names:
        difference = table.difference(name, split)
        tested = [difference.p] if split in (None, table.split) else []
        metrics = [str(table.cell(name, metric, split=split)) for metric in _metrics(table, split)]
        primary = str(table.cell(name, split=split))
        lines.append([name, primary, str(difference), *tested, *metrics])
    return lines


def _notes(table: AblationTable) -> str:
    """What the numbers are: sample sizes, resampling, tests."""
    row, recall = table.row(table.reference), table.mean(table.reference, "recall@0.5")
    bound = "" if recall is None else f" Proposal recall@0.5: {percent(recall)}."
    return (
        f"Dataset {table.dataset}, split {table.split}: {row['n'] if row else 0} expressions of"
        f" {table.images.get(table.split, 0)} images; seeds {', '.join(map(str, table.seeds))}"
        " (baselines without chance run once). Values are percentages, mean ± sample deviation over"
        f" seeds. Differences are in points, method minus {table.reference}, with the 95 % percentile"
        f" interval of a paired bootstrap by image ({table.resamples} resamples, seeds averaged); p is"
        f" two-sided, adjusted by Holm for {len(table.kinds) - 1} comparisons. The interval covers the"
        f" choice of images, the deviation that of seeds.{bound}"
    )
