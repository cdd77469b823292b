"""A finished study as a Markdown document: every number read from the study's tables."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from camground.evaluation.metric_table import GROUPINGS, MAIN, METRICS, PRIMARY
from camground.report.ablation_table import ABSENT, AblationTable, percent
from camground.report.leakage import leakage
from camground.report.method_tables import by_group, by_metric, by_split
from camground.report.mining import COLUMNS, HEADINGS, mined
from camground.report.results import Results
from camground.report.text_tables import markdown
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.provenance import config_digest
from camground.study.schemas import SPLITS

MEANS = "Per cent, mean ± sample deviation over seeds."


def write_document(root: Path, output: Path, command: str, commit: str) -> None:
    """The study below `root` (R/D), which `command` reruns at `commit`, as Markdown in `output`."""
    text = document(root, command, commit)
    with tables.atomic(output) as path:
        path.write_text(text, encoding="utf-8")
    log.info("%s: %d lines", output, text.count("\n"))


def document(root: Path, command: str, commit: str) -> str:
    """The whole document. `UserError` names the file that is missing or of another run."""
    results = finished(root)
    table = results.table
    recall = table.mean(table.reference, "recall@0.5")
    grouped = [_by_group(table, key) for key in ("flavour", "word_class")]
    parts = [
        _facts(results, command, commit),
        _main_table(table),
        "" if recall is None else f"\nProposal recall@0.5: {percent(recall)}.\n",
        _splits(table),
        _differences(table),
        *grouped,
        _own_cam(results),
        _word_swaps(table),
        leakage(results).to_markdown(),
        _wall_clock(results),
    ]
    return "".join(parts)


def finished(root: Path) -> Results:
    """The study below `root`, its methods, seeds, split and reference read from its files."""
    file = root / "ablation.parquet"
    rows = tables.read("ablation", file)
    if rows.empty:
        raise UserError(f"{file}: is empty; rerun `evaluate`")
    split = _tested_split(rows)
    overall = rows[
        (rows["metric"] == PRIMARY) & (rows["group"] == "all") & (rows["split"] == split)
    ]
    references = overall.loc[overall["difference"].isna(), "variant"]
    if len(references) != 1:
        raise UserError(
            f"{file}: {len(references)} methods without a difference in {PRIMARY} on split {split},"
            " not one; rerun `ablation`"
        )
    reference = str(references.iloc[0])
    names = [str(name) for name in rows["variant"].unique()]
    trained = [n for n in names if any(root.glob(f"{n}/seed*/train/config.yaml"))]
    folders = [path.parent.name for path in root.glob(f"{reference}/seed*/train")]
    seeds = sorted(int(name.removeprefix("seed")) for name in folders)
    count = rows.loc[rows["variant"] == reference, "seeds"].max()
    if len(seeds) != count:
        raise UserError(
            f"{root / reference}: {len(seeds)} trainings, but the ablation table is of {count} seeds;"
            " remove those of another run, or rerun `ablation`"
        )
    images = tables.read("images", root / "data" / "images.parquet", ["split"])["split"]
    table = AblationTable(
        table=rows,
        dataset=str(rows["dataset"].iloc[0]),
        variants=trained,
        baselines=[name for name in names if name not in trained],
        seeds=seeds,
        reference=reference,
        split=split,
        images={str(name): int(n) for name, n in images.value_counts().items()},
    )
    return Results(root, table)


def _tested_split(rows: pd.DataFrame) -> str:
    """The split of the study's tests: the one whose p are adjusted, else its first test split."""
    tested = rows.loc[rows["p_holm"].notna(), "split"].unique()
    if len(tested) == 1:
        return str(tested[0])
    return next((split for split in SPLITS[2:] if split in set(rows["split"])), "val")


def _facts(results: Results, command: str, commit: str) -> str:
    """How the study was made, and of what."""
    table, digest = results.table, config_digest(results.resolved_config())
    written = (results.root / "ablation.parquet").stat().st_mtime
    return (
        f"# Study {table.dataset}\n\n```\n{command}\n```\n\n"
        f"- commit: {commit}\n"
        f"- config digest: {digest} (`{table.reference}`, seed {table.seeds[0]})\n"
        f"- date of the tables: {datetime.fromtimestamp(written, UTC):%Y-%m-%d}\n"
        f"- seeds: {', '.join(map(str, table.seeds))}\n\n" + markdown(*results.split_counts())
    )


def _main_table(table: AblationTable) -> str:
    row = table.row(table.reference)
    metrics = [name for name in MAIN if METRICS[name].needs in ("boxes", "objects")]
    return (
        f"\n## Results\n\nSplit {table.split}, {row['n'] if row else 0:,} expressions of"
        f" {table.images.get(table.split, 0):,} images; per cent, mean ± sample deviation over seeds."
        " The oracle knows the true box and takes the best proposal.\n\n"
        + by_metric(table, metrics).to_markdown()
    )


def _splits(table: AblationTable) -> str:
    found = by_split(table)
    if found is None:
        return ""
    title = f"\n## {METRICS[PRIMARY].heading} on every evaluated split\n\n"
    return f"{title}{MEANS} n: expressions.\n\n{found.to_markdown()}"


def _differences(table: AblationTable) -> str:
    """Each method minus the reference, with interval and p."""
    names = [name for name in table.kinds if name != table.reference and table.row(name)]
    differences = {name: table.difference(name) for name in names}
    rows = [[name, str(found), found.p] for name, found in differences.items()]
    return (
        f"\n## Difference from {table.reference} in {METRICS[PRIMARY].heading}\n\nPoints, with the 95 %"
        " interval of the paired bootstrap by image (seeds averaged); p is two-sided, adjusted by Holm"
        " for all methods of this table.\n\n"
        + markdown(["Method", "Difference [95 %]", "p (Holm)"], rows)
        + "\n"
        + "".join(f"- {sentence}\n" for sentence in table.verdicts(table.kinds))
    )


def _by_group(table: AblationTable, key: str) -> str:
    found = by_group(table, key)
    title = f"\n## {METRICS[PRIMARY].heading} by {GROUPINGS[key]}\n\n"
    return title + found.to_markdown() if found else ""


def _own_cam(results: Results) -> str:
    """The own CAM's metrics with attention mining and without; "" where no variant compares them."""
    table = results.table
    rows = [
        [row.name, row.differs, *map(str, row.cells), row.collapsed or ABSENT]
        for row in mined(results)
    ]
    if not rows:
        return ""
    matcher = [str(table.cell(table.reference, f"matcher_{metric}")) for metric in COLUMNS]
    absent = [ABSENT] * (len(HEADINGS) - len(COLUMNS) + 1)
    rows.append(["matcher's CAM", "not trained here", *matcher, *absent])
    return (
        f"\n## The model's own Grad-CAM and attention mining\n\n{MEANS} The erased score S(I*) is what is"
        " left of the image score S(I) once the own map is erased. Mask share and size penalty are those"
        " at the end of training.\n\n"
        + markdown(["Variant", "Differs in", *HEADINGS, "Collapse"], rows)
    )


def _word_swaps(table: AblationTable) -> str:
    found = by_group(table, "word_class", "word_swap", overall=True)
    title = f"\n## Word-swap accuracy by class of the changed word\n\n{MEANS}\n\n"
    return title + found.to_markdown() if found else ""


def _wall_clock(results: Results) -> str:
    """The stages' times, summed over their jobs; "" without benchmarks."""
    jobs: dict[str, list[float]] = {}
    for path in sorted((results.root / "benchmarks").glob("*.tsv")):
        name, _, run = path.stem.partition("-")
        # of a variant that the table no longer has
        if run and run.rpartition("-seed")[0] not in results.table.variants:
            continue
        with path.open(encoding="utf-8") as file:
            seconds = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
        jobs.setdefault(name, []).append(sum(seconds))
    if not jobs:
        return ""
    longest = dict(sorted(jobs.items(), key=lambda item: -sum(item[1])))
    longest["all"] = [seconds for listed in jobs.values() for seconds in listed]
    rows = [[name, str(len(times)), f"{sum(times) / 60:,.1f}"] for name, times in longest.items()]
    return (
        "\n## Wall-clock\n\nMinutes, summed over jobs; jobs run side by side, so the study took"
        " less.\n\n" + markdown(["Stage", "Jobs", "Minutes"], rows)
    )
