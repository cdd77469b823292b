"""The ablation table: every variant and baseline, its deviation over seeds, its difference from the
reference with a paired bootstrap interval by image, and p adjusted by Holm.

Means, deviations and differences are given for every metric and group, intervals and p for every
metric over all expressions. Only the p of Acc@0.5 on the main split are the study's tests, adjusted
for all comparisons with the reference; the other p are unadjusted, to be read as descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from camground.evaluation import statistics
from camground.evaluation.protocol import settings
from camground.evaluation.word_swaps import NAMES as SWAP_NAMES
from camground.report.ablation_table import AblationTable, render_latex, render_markdown
from camground.stages.baselines import runs
from camground.stages.evaluate import NAMES
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log, track

TESTED = "acc@0.5"


@dataclass(frozen=True)
class Settings:
    """Config section `ablation`; see `config.yaml` for what each key means."""

    reference: str
    split: str
    resamples: int
    rng_seed: int


@dataclass(frozen=True)
class Method:
    """A variant's or baseline's results: outcomes and metrics of each of its seeds."""

    name: str
    outcomes: list[pd.DataFrame]
    metrics: list[pd.DataFrame]


def read_method(root: Path, name: str, seeds: list[int]) -> Method:
    """Read <root>/<name>/seed<k>/{outcomes,metrics}.parquet for all `seeds`; other seeds are left.

    Raises `UserError` naming the file that is missing or holds another run.
    """
    outcomes, metrics = [], []
    for seed in seeds:
        folder = root / name / f"seed{seed}"
        outcomes.append(tables.read("outcomes", folder / "outcomes.parquet"))
        found = tables.read("metrics", folder / "metrics.parquet")
        if not ((found["variant"] == name) & (found["seed"] == seed)).all():
            raise UserError(
                f"{folder / 'metrics.parquet'}: holds another variant or seed than its path says;"
                " rerun `evaluate`"
            )
        metrics.append(found)
    return Method(name, outcomes, metrics)


def check_pairing(methods: list[Method]) -> None:
    """`UserError` unless all methods and seeds were evaluated on the same expressions."""
    first: pd.Index | None = None
    for method in methods:
        for outcomes in method.outcomes:
            rows = outcomes[outcomes["name"] == "iou"]
            ids = pd.Index(rows["expression_id"]).sort_values()
            if first is None:
                first = ids
            elif not ids.equals(first):
                raise UserError(
                    f"{method.name}: evaluated on other expressions than {methods[0].name};"
                    " differences need the same ones; rerun `evaluate` and `baselines`"
                )


def image_sums(
    outcomes: pd.DataFrame, images: pd.Index, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of outcomes by image and name: two (images, names) float64 arrays."""
    row = images.get_indexer(pd.Index(outcomes["image_id"]))
    column = pd.Index(names).get_indexer(pd.Index(outcomes["name"]))
    kept = (row >= 0) & (column >= 0)
    cell = row[kept] * len(names) + column[kept]
    shape, size = (len(images), len(names)), len(images) * len(names)
    sums = np.bincount(cell, outcomes["value"].to_numpy()[kept], minlength=size)
    counts = np.bincount(cell, minlength=size).astype(np.float64)
    return sums.reshape(shape), counts.reshape(shape)


def bootstrap(
    methods: list[Method], reference: str, split: str, names: list[str], config: Settings
) -> dict[str, statistics.Difference]:
    """Each other method's difference from the reference on `split`, a column a name of `names`.

    Every method meets the same resamples of the split's images; each resample's value is the mean
    over the method's seeds.
    """
    of_split = {m.name: [o[o["split"] == split] for o in m.outcomes] for m in methods}
    images = pd.Index(of_split[reference][0]["image_id"].unique())

    def resampled(name: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [image_sums(outcomes, images, names) for outcomes in of_split[name]]
        made = [
            statistics.resampled_means(*pair, config.resamples, config.rng_seed) for pair in pairs
        ]
        value, drawn = zip(*made, strict=True)
        return np.mean(value, axis=0), np.mean(drawn, axis=0)

    value, drawn = resampled(reference)
    found = {}
    for method in track([m for m in methods if m.name != reference], f"bootstrap of {split}"):
        other_value, other_drawn = resampled(method.name)
        found[method.name] = statistics.differences(other_value, value, other_drawn, drawn)
    return found


def means(methods: list[Method]) -> pd.DataFrame:
    """A row a (variant, split, metric, group): mean and sample deviation over seeds, seeds, n."""
    keys = ["variant", "split", "metric", "group"]
    rows = pd.concat([table for m in methods for table in m.metrics], ignore_index=True)
    grouped = rows.groupby(keys, sort=False)
    table = grouped.agg(
        seeds=("value", "size"), n=("n", "mean"), mean=("value", "mean"), deviation=("value", "std")
    ).reset_index()
    # `right_extent` counts a different number of expressions in each seed.
    table["n"] = table["n"].round().astype("int64")
    return table


def compare(methods: list[Method], dataset: str, config: Settings) -> pd.DataFrame:
    """The `ablation` table, methods in the order given."""
    if config.reference not in [method.name for method in methods]:
        raise UserError(
            f"config `ablation.reference`: {config.reference!r} is not among the study's variants"
        )
    check_pairing(methods)
    table = means(methods)
    keys = ["split", "metric", "group"]
    base = table[table["variant"] == config.reference].set_index(keys)["mean"].rename("base")
    table = table.join(base, on=keys)
    other = table["variant"] != config.reference
    table["difference"] = (table["mean"] - table.pop("base")).where(other)
    parts = []
    for split in table["split"].unique():
        names = [name for name in (*NAMES, *SWAP_NAMES) if name in set(table["metric"])]
        for name, found in bootstrap(methods, config.reference, split, names, config).items():
            part = pd.DataFrame({"low": found.low, "high": found.high, "p": found.p})
            parts.append(part.assign(variant=name, split=split, metric=names, group="all"))
    columns = ["variant", *keys, "low", "high", "p"]
    intervals = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    table = table.merge(intervals, on=["variant", *keys], how="left", sort=False)
    tested = (table["split"] == config.split) & (table["metric"] == TESTED) & other
    tested &= table["group"] == "all"
    table["p_holm"] = np.nan
    table.loc[tested, "p_holm"] = statistics.holm(table.loc[tested, "p"].to_numpy(dtype=float))
    return table.assign(dataset=dataset)[tables.SCHEMAS["ablation"].names]


@dataclass(frozen=True)
class Task:
    """What `--config` holds."""

    dataset: str
    variants: list[str]
    baselines: list[str]
    seeds: list[int]
    ablation: dict


def main() -> None:
    """Command line of the stage."""
    parser = stage.parser("ablation", __doc__)
    parser.add_argument(
        "--root", type=Path, required=True, help="the folder of the dataset's results"
    )
    for name in ("output", "csv", "markdown", "latex"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="output")
    args = parser.parse_args()
    task = settings(Task, stage.read_config(args.config), "--config")
    config = settings(Settings, task.ablation, "ablation")
    seeds = {name: runs(name, task.seeds) for name in task.baselines}
    seeds |= {name: list(task.seeds) for name in task.variants}
    methods = [read_method(args.root, name, runs_of) for name, runs_of in seeds.items()]
    table = compare(methods, task.dataset, config)
    tables.write("ablation", table, args.output)
    outcomes = methods[0].outcomes[0]
    study = AblationTable(
        dataset=task.dataset,
        table=table,
        baselines=list(task.baselines),
        variants=list(task.variants),
        seeds=list(task.seeds),
        reference=config.reference,
        split=config.split,
        resamples=config.resamples,
        images={str(s): rows["image_id"].nunique() for s, rows in outcomes.groupby("split")},
    )
    with tables.atomic(args.csv) as path:
        table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    for text, output in (
        (render_markdown(study), args.markdown),
        (render_latex(study), args.latex),
    ):
        with tables.atomic(output) as path:
            path.write_text(text, encoding="utf-8")
    log.info("%s", verdict_line(study))


def verdict_line(study: AblationTable) -> str:
    """One line for the log: how the reference did, and how many methods were compared."""
    found = study.cell(study.reference, TESTED)
    if found is None:
        return f"no expression of split {study.split} has a target: nothing to compare"
    return (
        f"{study.reference}: Acc@0.5 {found['mean']:.3f} on {study.split} (n {found['n']}),"
        f" compared with {len(study.baselines) + len(study.variants) - 1} methods"
    )


if __name__ == "__main__":
    stage.run("ablation", main)
