"""A finished study as a Markdown document: every number read from the study's tables."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from camground.evaluation.baselines import BASELINES
from camground.evaluation.metric_table import GROUPINGS, MAIN, METRICS, PRIMARY
from camground.report.ablation_table import ABSENT, AblationTable, percent
from camground.report.budget import NOTE, budget
from camground.report.leakage import leakage
from camground.report.method_tables import (
    PRESENCE,
    READ_OUT_NOTE,
    MethodTable,
    by_group,
    by_metric,
    by_split,
    markdown,
)
from camground.report.mining import COLUMNS, HEADINGS, mined
from camground.report.results import Results
from camground.report.supervision import FILE
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
    table, heading = results.table, METRICS[PRIMARY].heading
    row = table.row(table.reference) or {}
    metrics = [name for name in MAIN if METRICS[name].needs in ("boxes", "objects")]
    recall = table.mean(table.reference, "recall@0.5")
    bound = "" if recall is None else f"\nProposal recall@0.5: {percent(recall)}.\n"
    others = {n: table.difference(n) for n in table.kinds if n != table.reference and table.row(n)}
    differences = [[name, str(found), found.p, found.verdict] for name, found in others.items()]
    verdicts = "".join(f"- {sentence}\n" for sentence in table.verdicts(others))
    parts = [
        _facts(results, command, commit),
        _section(
            "Results",
            f"Split {table.split}, {row['n']:,} expressions of {table.images.get(table.split, 0):,}"
            " images; per cent, mean ± sample deviation over seeds. The oracle knows the true box and"
            f" takes the best proposal. {READ_OUT_NOTE}",
            by_metric(table, metrics).to_markdown() + bound,
        ),
        _section(f"{heading} on every evaluated split", f"{MEANS} n: expressions.", by_split(table)),
        _section(
            f"Difference from {table.reference} in {heading}",
            table.statistics_note,
            f"{markdown(['Method', 'Difference [95 %]', 'p (Holm)', 'Verdict'], differences)}\n{verdicts}",
        ),
        *(
            _section(f"{heading} by {GROUPINGS[key]}", "", by_group(table, key))
            for key in ("flavour", "size", "word_class", "head")
        ),
        _section(
            "The model's own Grad-CAM and attention mining",
            f"{MEANS} The erased score S(I*) is what is left of the image score S(I) once the own map is"
            " erased. Mask share and size penalty are those at the end of training.",
            _own_cam(results),
        ),
        _section(
            "Word-swap accuracy by class of the changed word",
            f"{MEANS} {METRICS['word_swap'].note}",
            by_group(table, "word_class", "word_swap", overall=True),
        ),
        _section(
            "Is it there at all?",
            f"{MEANS} The score of a box is the probability that what the phrase means is in the image. "
            + " ".join(f"{METRICS[name].heading}: {METRICS[name].note}" for name in PRESENCE),
            by_metric(table, PRESENCE) if table.row(table.reference, PRESENCE[0]) else None,
        ),
        _section("Training: how long, and what choosing the epoch by captions cost", NOTE, budget(results)),
        _section("What entered as supervision", "", _supervision(root)),
        leakage(results).to_markdown(),
        _section(
            "Wall-clock",
            "Minutes, summed over jobs; jobs run side by side, so the study took less.",
            _wall_clock(results),
        ),
    ]
    return "".join(parts)


def _section(title: str, introduction: str, content: MethodTable | str | None) -> str:
    """A heading with what is below it; "" without content."""
    if not content:
        return ""
    text = content if isinstance(content, str) else content.to_markdown()
    return "\n\n".join(part for part in (f"\n## {title}", introduction, text) if part)


def finished(root: Path) -> Results:
    """The study below `root`, its methods, seeds, split and reference read from its files."""
    file = root / "ablation.parquet"
    rows = tables.read("ablation", file)
    if rows.empty:
        raise UserError(f"{file}: is empty; rerun `evaluate`")
    split = _tested_split(rows)
    overall = rows[(rows["metric"] == PRIMARY) & (rows["group"] == "all") & (rows["split"] == split)]
    references = overall.loc[overall["difference"].isna(), "variant"]
    if len(references) != 1:
        raise UserError(
            f"{file}: {len(references)} methods without a difference in {PRIMARY} on split {split},"
            " not one; rerun `ablation`"
        )
    reference = str(references.iloc[0])
    if not any(root.glob(f"{reference}/seed*/train/config.yaml")):
        raise UserError(
            f"{root}: nothing of it is trained; its table is {root / 'ablation.md'}, its page report.html"
        )
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
        baselines=[name for name in names if name in BASELINES],
        seeds=seeds,
        reference=reference,
        split=split,
        images={str(name): int(n) for name, n in images.value_counts().items()},
        methods=[name for name in names if name not in trained and name not in BASELINES],
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


def _supervision(root: Path) -> str:
    """What stage `report` found to have entered; "" of results that it has not been through."""
    path = root / FILE
    facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return "".join(f"- **{subject}.** {sentence}\n" for subject, sentence in facts.items())


def _own_cam(results: Results) -> str:
    """The own CAM's metrics with attention mining and without; "" where no variant compares them."""
    table = results.table
    rows = [[row.name, row.differs, *map(str, row.cells), row.collapsed or ABSENT] for row in mined(results)]
    if not rows:
        return ""
    matcher = [str(table.cell(table.reference, f"matcher_{metric}")) for metric in COLUMNS]
    absent = [ABSENT] * (len(HEADINGS) - len(COLUMNS) + 1)
    rows.append(["matcher's CAM", "not trained here", *matcher, *absent])
    return markdown(["Variant", "Differs in", *HEADINGS, "Collapse"], rows)


def _wall_clock(results: Results) -> str:
    """The stages' times, summed over their jobs; "" without benchmarks."""
    jobs: dict[str, list[float]] = {}
    for path in sorted((results.root / "benchmarks").glob("*.tsv")):
        name, _, variant = re.sub(r"-seed\d+$", "", path.stem).partition("-")
        # of a variant that the table no longer has
        if variant and variant not in results.table.variants:
            continue
        with path.open(encoding="utf-8") as file:
            seconds = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
        jobs.setdefault(name, []).append(sum(seconds))
    if not jobs:
        return ""
    longest = dict(sorted(jobs.items(), key=lambda item: -sum(item[1])))
    longest["all"] = [seconds for listed in jobs.values() for seconds in listed]
    rows = [[name, str(len(times)), f"{sum(times) / 60:,.1f}"] for name, times in longest.items()]
    return markdown(["Stage", "Jobs", "Minutes"], rows)
