"""A finished study as a Markdown document: every number read from the study's tables.

python -m camground.report.study --results results/study --output docs/study.md
    --command "snakemake --cores all --configfile configs/study.yaml"
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from camground.report import leakage, split_table
from camground.report.ablation_table import (
    ABSENT,
    AblationTable,
    difference_text,
    group_table,
    mean_text,
    p_text,
    percent,
    verdicts,
)
from camground.report.mining import HEADINGS, METRICS, mined
from camground.report.results import Results
from camground.report.text_tables import markdown
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.provenance import config_digest, git_sha
from camground.study.schemas import SPLITS, present

TESTED = "acc@0.5"
MAIN = (
    ("acc@0.25", "Acc@0.25"),
    ("acc@0.5", "Acc@0.5"),
    ("acc@0.75", "Acc@0.75"),
    ("iou", "Mean IoU"),
    ("pointing", "Pointing"),
    ("right_object", "Right object"),
    ("right_extent", "Extent given object"),
)
SWAPS, SWAP_GROUP = "word_swap", "word_class="


@dataclass(frozen=True)
class Finished:
    """A study's folder R/D: what its tables say that a reader must know."""

    root: Path

    @cached_property
    def table(self) -> pd.DataFrame:
        """The ablation table."""
        return tables.read("ablation", self.root / "ablation.parquet")

    @cached_property
    def split(self) -> str:
        """The split of the study's tests: the one whose p are adjusted, else its first test split."""
        splits = self.table["split"]
        if splits.empty:
            raise UserError(f"{self.root / 'ablation.parquet'}: is empty; rerun `evaluate`")
        tested = splits[self.table["p_holm"].notna()].unique()
        if len(tested) == 1:
            return str(tested[0])
        return next((split for split in SPLITS[2:] if split in set(splits)), "val")

    @cached_property
    def reference(self) -> str:
        """The variant without a difference."""
        rows = self.table[(self.table["metric"] == TESTED) & (self.table["group"] == "all")]
        rows = rows[(rows["split"] == self.split) & rows["difference"].isna()]
        if len(rows) != 1:
            raise UserError(
                f"{self.root / 'ablation.parquet'}: {len(rows)} methods without a difference in"
                f" {TESTED} on split {self.split}, not one; rerun `ablation`"
            )
        return str(rows["variant"].iloc[0])

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of the reference; `UserError` where the folder has others than the table."""
        folders = [path.parent.name for path in self.root.glob(f"{self.reference}/seed*/train")]
        found = sorted(int(name.removeprefix("seed")) for name in folders)
        count = self.table.loc[self.table["variant"] == self.reference, "seeds"].max()
        if len(found) != count:
            raise UserError(
                f"{self.root / self.reference}: {len(found)} trainings, but the ablation table is"
                f" of {count} seeds; remove those of another run, or rerun `ablation`"
            )
        return found

    @cached_property
    def study(self) -> AblationTable:
        """The table with its methods, those that were trained apart from the baselines."""
        names = [str(name) for name in self.table["variant"].unique()]
        trained = [n for n in names if any(self.root.glob(f"{n}/seed*/train/config.yaml"))]
        images = tables.read("images", self.root / "data" / "images.parquet", ["split"])["split"]
        return AblationTable(
            dataset=str(self.table["dataset"].iloc[0]),
            table=self.table,
            baselines=[name for name in names if name not in trained],
            variants=trained,
            seeds=self.seeds,
            reference=self.reference,
            split=self.split,
            resamples=0,
            images={str(name): int(n) for name, n in images.value_counts().items()},
        )

    @cached_property
    def results(self) -> Results:
        """The same as the report reads it."""
        study = self.study
        report = {"split": study.split, "metric": TESTED}
        names = {"variants": study.variants, "baselines": study.baselines}
        return Results(
            self.root, {"dataset": study.dataset, "seeds": study.seeds, **names, "report": report}
        )


def facts(finished: Finished, command: str, commit: str) -> str:
    """How the study was made, and of what."""
    study, digest = finished.study, config_digest(finished.results.resolved_config())
    written = (finished.root / "ablation.parquet").stat().st_mtime
    date = datetime.fromtimestamp(written, UTC).strftime("%Y-%m-%d")
    lines = [
        f"# Study {study.dataset}\n",
        f"```\n{command}\n```\n",
        f"- commit: {commit}",
        f"- config digest: {digest} (`{study.reference}`, seed {study.seeds[0]})",
        f"- date of the tables: {date}",
        f"- seeds: {', '.join(map(str, study.seeds))}\n",
    ]
    texts = tables.read("expressions", finished.root / "data" / "expressions.parquet")
    kinds = [kind for kind in ("phrase", "sentence", "swap") if (texts["kind"] == kind).any()]
    rows = []
    for split in present(texts["split"]):
        of_split = texts.loc[texts["split"] == split, "kind"]
        counts = [f"{(of_split == kind).sum():,}" for kind in kinds]
        rows.append([split, f"{study.images.get(split, 0):,}", *counts])
    header = ["Split", "Images", *(f"{kind.capitalize()}s" for kind in kinds)]
    return "\n".join(lines) + "\n" + markdown(header, rows)


def main_table(study: AblationTable) -> str:
    """Variants, then baselines."""
    rows = [
        [name, *(mean_text(study.cell(name, metric)) for metric, _ in MAIN)]
        for name in (*study.variants, *study.baselines)
    ]
    found = study.cell(study.reference, TESTED)
    return (
        f"\n## Results\n\nSplit {study.split}, {found['n'] if found else 0:,} expressions of"
        f" {study.images.get(study.split, 0):,} images; per cent, mean ± sample deviation over"
        " seeds. The oracle knows the true box and takes the best proposal.\n\n"
        + markdown(["Method", *(heading for _, heading in MAIN)], rows)
    )


def differences(study: AblationTable) -> str:
    """Each method minus the reference in Acc@0.5, with interval and p."""
    rows = []
    for name in (*study.variants, *study.baselines):
        cell = study.cell(name, TESTED)
        if name != study.reference and cell is not None:
            rows.append([name, difference_text(cell), p_text(cell["p_holm"])])
    return (
        f"\n## Difference from {study.reference} in Acc@0.5\n\nPoints, with the 95 % interval of"
        " the paired bootstrap by image (seeds averaged); p two-sided, adjusted by Holm for all"
        " methods of this table.\n\n"
        + markdown(["Method", "Difference [95 %]", "p (Holm)"], rows)
        + "\n"
        + "".join(f"- {line}\n" for line in verdicts(study))
    )


def own_cam(finished: Finished) -> str:
    """The own CAM's metrics with attention mining and without; "" where no variant compares them."""
    study = finished.study
    rows = [
        [row.name, row.differs, *_texts(row.cells), row.collapsed or ABSENT]
        for row in mined(finished.results)
    ]
    if not rows:
        return ""
    found = [study.cell(study.reference, f"matcher_{metric}") for metric, _ in METRICS]
    matcher = [mean_text(cell) for cell in found]
    rest = [ABSENT] * (len(HEADINGS) - len(METRICS) + 1)
    rows.append(["matcher's CAM", "not trained here", *matcher, *rest])
    return (
        "\n## The model's own Grad-CAM and attention mining\n\nPer cent, mean ± sample deviation"
        " over seeds. S(I*): what is left of the image's score S(I) once the own map is erased."
        " Mask share and size penalty: of training, at its end.\n\n"
        + markdown(["Variant", "Differs in", *HEADINGS, "Collapse"], rows)
    )


def _texts(cells: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{mean} ± {deviation}" if deviation else mean for mean, deviation in cells]


def word_swaps(study: AblationTable) -> str:
    """The word-swap accuracy by class of the changed word; "" where it was not measured."""
    table = study.table
    rows = table[(table["metric"] == SWAPS) & (table["split"] == study.split)]
    groups = sorted(group for group in rows["group"].unique() if group.startswith(SWAP_GROUP))
    if not groups:
        return ""
    counts = rows.groupby("group")["n"].first()
    shown = [g for g in ("all", *groups) if g in counts.index]
    header = ["Method", *(f"{g.removeprefix(SWAP_GROUP)} (n {counts[g]:,})" for g in shown)]
    names = [n for n in (*study.variants, *study.baselines) if n in set(rows["variant"])]
    body = [[name, *(mean_text(study.cell(name, SWAPS, g)) for g in shown)] for name in names]
    return (
        "\n## Word-swap accuracy by class of the changed word\n\nPer cent, mean ± sample deviation"
        " over seeds.\n\n" + markdown(header, body)
    )


def wall_clock(finished: Finished) -> str:
    """The stages' times, summed over their jobs; "" without benchmarks."""
    study = finished.study
    jobs: dict[str, list[float]] = {}
    for path in sorted((finished.root / "benchmarks").glob("*.tsv")):
        name, _, run = path.stem.partition("-")
        # of a variant that the table no longer has
        if run and run.rpartition("-seed")[0] not in study.variants:
            continue
        with path.open(encoding="utf-8") as file:
            seconds = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
        jobs.setdefault(name, []).append(sum(seconds))
    if not jobs:
        return ""
    order = sorted(jobs, key=lambda name: -sum(jobs[name]))
    rows = [[name, str(len(jobs[name])), _minutes(sum(jobs[name]))] for name in order]
    every = [seconds for listed in jobs.values() for seconds in listed]
    rows.append(["all", str(len(every)), _minutes(sum(every))])
    return (
        "\n## Wall-clock\n\nMinutes, summed over jobs; jobs run side by side, so the study took"
        " less.\n\n" + markdown(["Stage", "Jobs", "Minutes"], rows)
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f}"


def document(root: Path, command: str, commit: str) -> str:
    """The whole document."""
    finished = Finished(root)
    study = finished.study
    recall = study.cell(study.reference, "recall@0.5")
    bound = f"\nProposal recall@0.5: {percent(recall['mean'])}.\n" if recall else ""
    parts = [
        facts(finished, command, commit),
        main_table(study),
        bound,
        split_table.section(finished.results),
        differences(study),
        *(group_table(study, key) for key in ("flavour", "said")),
        own_cam(finished),
        word_swaps(study),
        leakage.section(finished.results),
        wall_clock(finished),
    ]
    return "".join(parts)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m camground.report.study", description="A finished study as Markdown."
    )
    parser.add_argument("--results", type=Path, required=True, help="the study's folder, R/D")
    parser.add_argument("--output", type=Path, required=True, help="the Markdown file")
    parser.add_argument("--command", required=True, help="what reruns the study, to be quoted")
    parser.add_argument("--commit", help="of the code that ran it (default: the checkout's)")
    options = parser.parse_args(arguments)
    text = document(options.results, options.command, options.commit or git_sha())
    with tables.atomic(options.output) as path:
        path.write_text(text, encoding="utf-8")
    log.info("%s: %d lines", options.output, text.count("\n"))


if __name__ == "__main__":
    stage.run("report.study", main)
