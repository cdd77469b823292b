"""The study's table: every variant, somebody else's boxes and every baseline, its deviation over seeds, its
difference from the reference with a paired bootstrap interval over images and seeds, and p adjusted by Holm.

Means, deviations and differences are of every metric and group, intervals and p of every metric over all
expressions. The study's tests are of `PRIMARY` on the main split: each variant, somebody else's boxes, and
each baseline that uses what was learnt from captions (`Baseline.tested`) against the reference; their p are
adjusted together. Floors and the oracle would only inflate that family: nobody asks whether `full` beats a
random box. Every other p is unadjusted, to be read as a description.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from camground.evaluation import statistics
from camground.evaluation.baselines import BASELINES
from camground.evaluation.config import AblationConfig
from camground.evaluation.metric_table import METRICS, PRIMARY
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import track
from camground.study.schemas import SCHEMAS

RESAMPLING_SEED = 0
KEYS = ["split", "metric", "group"]


@dataclass(frozen=True)
class Method:
    """A row's results, of a variant, a baseline or somebody else's boxes: tables `outcomes` and `metrics` of
    each of its seeds."""

    name: str
    outcomes: list[pd.DataFrame]
    metrics: list[pd.DataFrame]


def read_method(root: Path, name: str, seeds: Sequence[int]) -> Method:
    """Read <root>/<name>/seed<k>/{outcomes,metrics}.parquet of the study's `seeds` that the method runs with.

    Raises `UserError` naming the file that is missing or holds another run.
    """
    outcomes, metrics = [], []
    for seed in BASELINES[name].seeds(seeds) if name in BASELINES else seeds:
        folder = root / name / f"seed{seed}"
        outcomes.append(tables.read("outcomes", folder / "outcomes.parquet"))
        metrics.append(tables.read("metrics", folder / "metrics.parquet"))
        if not ((metrics[-1]["variant"] == name) & (metrics[-1]["seed"] == seed)).all():
            raise UserError(
                f"{folder / 'metrics.parquet'}: holds another variant or seed than its path says;"
                " rerun `evaluate`"
            )
    return Method(name, outcomes, metrics)


def compare(methods: Sequence[Method], dataset: str, config: AblationConfig) -> pd.DataFrame:
    """The `ablation` table, methods in their order.

    Raises `UserError` when the reference is missing, or the methods were evaluated on different expressions.
    """
    if config.reference not in [method.name for method in methods]:
        raise UserError(f"config `ablation.reference`: {config.reference!r} is none of the study's rows")
    _check_pairing(methods)
    table = means(methods)
    reference = table[table["variant"] == config.reference].set_index(KEYS)["mean"]
    table = table.join(reference.rename("of_reference"), on=KEYS)
    other = table["variant"] != config.reference
    table["difference"] = (table["mean"] - table.pop("of_reference")).where(other)
    columns = ["variant", *KEYS, "low", "high", "p", "resamples"]
    names = [name for name in METRICS if name in set(table["metric"])]
    parts = [pd.DataFrame(columns=columns)]
    for split in table["split"].unique():
        parts += [part.assign(split=split, group="all") for part in bootstrap(methods, split, names, config)]
    intervals = pd.concat([part for part in parts if len(part)] or parts)[columns]
    table = table.merge(intervals, on=["variant", *KEYS], how="left")
    tested = (table["split"] == config.split) & (table["metric"] == PRIMARY) & other
    tested &= (table["group"] == "all") & table["variant"].map(_tested)
    table["resamples"] = table["resamples"].astype("Int64")
    table["p_holm"] = np.nan
    table.loc[tested, "p_holm"] = statistics.holm(table.loc[tested, "p"].to_numpy(dtype=float))
    return table.assign(dataset=dataset).reindex(columns=SCHEMAS["ablation"].names)


def _tested(name: str) -> bool:
    return name not in BASELINES or BASELINES[name].tested


def _check_pairing(methods: Sequence[Method]) -> None:
    first: pd.Index | None = None
    for method in methods:
        if method.name in BASELINES and BASELINES[method.name].choose is None:
            continue
        for outcomes in method.outcomes:
            ids = pd.Index(outcomes["expression_id"][outcomes["name"] == "iou"]).sort_values()
            if first is not None and not ids.equals(first):
                raise UserError(
                    f"{method.name}: evaluated on other expressions than {methods[0].name};"
                    " differences need the same ones; rerun `evaluate` and `baselines`"
                )
            first = ids


def means(methods: Sequence[Method]) -> pd.DataFrame:
    """One row per (variant, split, metric, group): mean and sample deviation over seeds, seeds, n."""
    rows = pd.concat([table for method in methods for table in method.metrics], ignore_index=True)
    table = (
        rows.groupby(["variant", *KEYS], sort=False)
        .agg(seeds=("value", "size"), n=("n", "mean"), mean=("value", "mean"), deviation=("value", "std"))
        .reset_index()
    )
    # `right_extent` counts a different number of expressions in each seed.
    table["n"] = table["n"].round().astype("int64")
    return table


def bootstrap(
    methods: Sequence[Method], split: str, metrics: list[str], config: AblationConfig
) -> Iterator[pd.DataFrame]:
    """Of each method other than the reference: one row per metric, with low, high and p of the difference.

    Every method meets the same resamples of the split's images and of the seeds.
    """
    of_split = {method.name: [rows[rows["split"] == split] for rows in method.outcomes] for method in methods}
    images = pd.Index(of_split[config.reference][0]["image_id"].unique())
    cells = {}
    for name, of_seeds in of_split.items():
        sums, counts = zip(*(image_sums(outcomes, images, metrics) for outcomes in of_seeds), strict=True)
        cells[name] = np.stack(sums), np.stack(counts)
    others = [name for name in cells if name != config.reference]
    differences: dict[str, list[np.ndarray]] = {name: [] for name in others}
    seeds = max(len(of_seeds) for of_seeds in of_split.values())
    blocks = statistics.resamples(len(images), seeds, config.resamples, RESAMPLING_SEED)
    for weights in track(blocks, f"bootstrap of {split}"):
        reference = statistics.resampled_means(*cells[config.reference], *weights)
        for name in others:
            differences[name].append(statistics.resampled_means(*cells[name], *weights) - reference)
    for name, drawn in differences.items():
        low, high, p = statistics.intervals(np.concatenate(drawn))
        columns = {"metric": metrics, "low": low, "high": high, "p": p, "resamples": config.resamples}
        yield pd.DataFrame(columns).assign(variant=name)


def image_sums(outcomes: pd.DataFrame, images: pd.Index, metrics: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of outcomes by image and metric: two (images, metrics) float64 arrays."""
    row = images.get_indexer(pd.Index(outcomes["image_id"]))
    column = pd.Index(metrics).get_indexer(pd.Index(outcomes["name"]))
    kept = (row >= 0) & (column >= 0)
    cell = row[kept] * len(metrics) + column[kept]
    shape, size = (len(images), len(metrics)), len(images) * len(metrics)
    sums = np.bincount(cell, outcomes["value"].to_numpy()[kept], minlength=size)
    counts = np.bincount(cell, minlength=size).astype(np.float64)
    return sums.reshape(shape), counts.reshape(shape)
