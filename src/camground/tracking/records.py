"""The result files of a study as records of what each MLflow run will hold. Reads files, writes none."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from camground.evaluation.baselines import BASELINES
from camground.evaluation.metric_table import MAIN, PRIMARY
from camground.study import tables
from camground.study.errors import UserError
from camground.study.provenance import config_digest, file_digest

# MLflow's limits; a value beyond them would fail the whole batch.
MAX_PARAM_LENGTH = 6000
MAX_KEY_LENGTH = 250
# Of a training's summary, from captions alone: the headline seed is the one where it is highest.
SELECT_BY = "best_score"
# Longest side in pixels of the picture that a model is logged with.
EXAMPLE_SIDE = 320
# A run shows at most 25 metrics, those that a person looks for, and keeps its files, which hold all, as
# artifacts. Most of a run's metrics are of its evaluation, in this order, each on every split.
MOST_METRICS = 25
MOST_EVALUATED = 12
EVALUATED = (PRIMARY, "acc@0.75", "iou", "pointing", "cam_iou", *MAIN)
CURVES = (
    *("loss", "train/loss", "val/loss", "val/score", "val/recall@1"),
    *("train/distillation", "train/mask_share", "train/erased_score"),
)
OF_SUMMARY = (SELECT_BY, "epochs")
# Columns of Snakemake's benchmark files, by the names under which MLflow shows them as system metrics.
SYSTEM = {
    "system/seconds": "s",
    "system/cpu_seconds": "cpu_time",
    "system/cpu_utilization_percentage": "mean_load",
    "system/max_rss_megabytes": "max_rss",
}


@dataclass(frozen=True)
class Study:
    """A study's folder (results_dir/dataset) and its methods; `reference` is the headline variant.
    candidates: the table that answers are chosen among, without its ending; methods: what somebody else's
    boxes have learnt from, by the name of their row; split: of the main table."""

    root: Path
    dataset: str
    seeds: Sequence[int]
    variants: Sequence[str]
    baselines: Sequence[str]
    reference: str
    candidates: str = "proposals/proposals"
    methods: Mapping[str, str] = field(default_factory=dict)
    split: str = "test"


@dataclass(frozen=True)
class Metric:
    """One value of a curve, or the only one."""

    name: str
    value: float
    step: int = 0


@dataclass
class Run:
    """One MLflow run. A rerun with the same `key` supersedes it. system: what its job took; inputs: data sets
    by what they are used for; table: a table `ablation` to show; ended: a file's time, in seconds."""

    key: str
    name: str
    stage: str
    variant: str
    seed: int | None = None
    parent: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    system: list[Metric] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    inputs: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    table: Path | None = None
    tags: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    ended: float = 0.0

    @property
    def digest(self) -> str:
        """Changes when anything that the run shows changes; times and what the job took do not count."""
        content: list[Any] = [self.key, self.name, self.params, self.tags, self.inputs]
        content += [(metric.name, repr(metric.value), metric.step) for metric in self.metrics]
        content += [(path.name, file_digest(path)) for path in self.files]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def study_runs(study: Study, config: Mapping[str, Any], reports: Iterable[Path]) -> list[Run]:
    """Every run of the study: matchers, variants and baselines, each before its children, and the ablation.

    `targets` are inputs for evaluation alone. Raises `UserError` naming the file that is missing.
    """
    ablation = tables.read_arrow("ablation", study.root / "ablation.parquet").to_pylist()
    pairs = [dataset_of(study, f"data/{name}") for name in ("images", "expressions")]
    proposals, targets = dataset_of(study, "proposals/proposals"), dataset_of(study, "data/targets")
    candidates = dataset_of(study, study.candidates)
    maps = {seed: f"gradcam/seed{seed}/cams" for seed in study.seeds}
    maps = {seed: name for seed, name in maps.items() if (study.root / f"{name}.parquet").exists()}
    cams = {seed: dataset_of(study, name) for seed, name in maps.items()}
    runs = []
    for seed in study.seeds if study.variants else ():
        name = f"matcher/s{seed}"
        matcher = Run(f"{study.dataset}/{name}", name, "matcher", "matcher", seed)
        matcher.inputs = {"training": pairs}
        matcher.system = taken(study.root / "benchmarks" / f"matcher-seed{seed}.tsv")
        runs.append(trained(matcher, study.root / "matcher" / f"seed{seed}"))
    stages = {"train": study.variants, "methods": study.methods, "baselines": study.baselines}
    for stage, name in ((stage, name) for stage, names in stages.items() for name in names):
        parent = Run(f"{study.dataset}/{stage}/{name}", name, stage, name)
        parent.metrics = ablation_metrics(ablation, name)
        if name in study.methods:
            parent.params = flatten({"supervision": study.methods[name]})
        seeds = study.seeds[:1] if stage == "methods" else study.seeds
        children = []
        for seed in BASELINES[name].seeds(seeds) if stage == "baselines" else seeds:
            key, title = f"{parent.key}/s{seed}", f"{stage}/{name}/s{seed}"
            run = Run(key, title, stage, name, seed, parent.key)
            shown = [cams[seed]] if stage == "baselines" and cams else []
            run.inputs = {"evaluation": [*pairs, candidates, *shown, targets]}
            folder = study.root / name / f"seed{seed}"
            if stage == "train":
                training = [*pairs, proposals, cams[seed]]
                chosen_among = [] if candidates == proposals else [candidates]
                run.inputs = {"training": training, "evaluation": [*chosen_among, targets]}
                run = trained(run, folder / "train")
                run.system = taken(study.root / "benchmarks" / f"train-{name}-seed{seed}.tsv")
            children.append(evaluated(run, folder / "metrics.parquet"))
        parent.ended = max(child.ended for child in children)
        parent.seconds = sum(child.seconds for child in children)
        runs += [parent, *children]
    result = ablation_run(study, ablation, reports)
    result.params = flatten(config)
    result.inputs = {"evaluation": [*pairs, candidates, *cams.values(), targets]}
    return [*runs, result]


def trained(run: Run, folder: Path) -> Run:
    """`run` with the resolved config, the summary and `CURVES` of a training stage's folder."""
    config = read_mapping(folder / "config.yaml", yaml.safe_load)
    summary = read_mapping(folder / "summary.json", json.loads)
    run.params = flatten(config)
    run.tags["config_sha"] = config_digest(config)
    for row in tables.read_arrow("history", folder / "history.parquet").to_pylist():
        if row["name"] in CURVES:
            name = row["name"] if "/" in row["name"] else f"{run.stage}/{row['name']}"
            run.metrics.append(Metric(mlflow_name(name), row["value"], row["step"]))
    numbers = {k: float(v) for k, v in summary.items() if type(v) in (int, float)}
    run.metrics += [Metric(f"training/{name}", numbers[name]) for name in OF_SUMMARY if name in numbers]
    run.files += [folder / "config.yaml", folder / "summary.json", folder / "history.parquet"]
    run.seconds = numbers.get("seconds", 0.0)
    run.ended = (folder / "summary.json").stat().st_mtime
    return run


def evaluated(run: Run, path: Path) -> Run:
    """`run` with the main metrics of table `metrics`; the table itself holds all, and the groups."""
    rows = most_telling(tables.read_arrow("metrics", path).to_pylist())
    run.metrics += [Metric(mlflow_name(f"{row['split']}/{row['metric']}"), row["value"]) for row in rows]
    run.files.append(path)
    run.ended = max(run.ended, path.stat().st_mtime)
    return run


def most_telling(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of rows over all expressions, one a split and metric, the first `MOST_EVALUATED` in a reader's
    order."""
    found = [row for row in rows if row["group"] == "all" and row["metric"] in EVALUATED]
    return sorted(found, key=lambda row: EVALUATED.index(row["metric"]))[:MOST_EVALUATED]


def taken(benchmark: Path) -> list[Metric]:
    """What a job took, by its file of Snakemake's; [] without one. A value that was not measured is left
    out."""
    if not benchmark.exists():
        return []
    with benchmark.open(newline="") as stream:
        *_, last = csv.DictReader(stream, delimiter="\t")
    numbers = {name: last.get(column) or "" for name, column in SYSTEM.items()}
    return [Metric(name, float(text)) for name, text in numbers.items() if re.fullmatch(r"[\d.]+", text)]


def ablation_metrics(rows: Iterable[Mapping[str, Any]], variant: str) -> list[Metric]:
    """A method's most telling metrics of table `ablation`, and of the primary one deviation, difference,
    p."""
    return [
        Metric(mlflow_name(f"{row['split']}{suffix}/{row['metric']}"), row[column])
        for row in most_telling(row for row in rows if row["variant"] == variant)
        for column in ("mean", "deviation", "difference", "p_holm")
        for suffix in ["" if column == "mean" else f"_{column}"]
        if row[column] is not None and (column == "mean" or row["metric"] == PRIMARY)
    ]


def ablation_run(study: Study, rows: Iterable[Mapping[str, Any]], reports: Iterable[Path]) -> Run:
    """The run that holds the study's result: table, report and pictures; `rows` of table `ablation`. Its
    metrics are the primary one's of every split, of the learned and the tested rows first."""
    tested = [name for name in study.baselines if BASELINES[name].tested]
    order = list(dict.fromkeys([*study.variants, *study.methods, *tested, "oracle", *study.baselines]))
    shown = [
        row for row in rows if (row["group"], row["metric"]) == ("all", PRIMARY) and row["variant"] in order
    ]
    shown = sorted(shown, key=lambda row: order.index(row["variant"]))[:MOST_METRICS]
    run = Run(f"{study.dataset}/ablation", "ablation", "ablation", "all")
    run.table = study.root / "ablation.parquet"
    run.metrics = [
        Metric(mlflow_name(f"{row['split']}/{PRIMARY}/{row['variant']}"), row["mean"]) for row in shown
    ]
    files = [study.root / f"ablation.{ending}" for ending in ("parquet", "csv", "md", "tex")]
    files += [*reports, *sorted((study.root / "figures").glob("*.png"))]
    run.files = [path for path in files if path.exists()]
    run.ended = max(path.stat().st_mtime for path in run.files)
    return run


def headline_seed(study: Study) -> int:
    """Of the reference variant's trainings that with the best score on the val captions, never chosen by
    boxes."""

    def score(seed: int) -> float:
        file = study.root / study.reference / f"seed{seed}" / "train" / "summary.json"
        value = read_mapping(file, json.loads).get(SELECT_BY)
        return float(value) if isinstance(value, int | float) else float("-inf")

    return max(study.seeds, key=score)


def example(study: Study) -> tuple[bytes, str]:
    """The bytes of a picture, at most `EXAMPLE_SIDE` a side, and a phrase of it: the first that are
    evaluated."""
    from camground.data.photographs import read_photograph

    images = study.root / "data" / "images.parquet"
    texts = tables.read("expressions", study.root / "data" / "expressions.parquet")
    evaluated = texts[(texts["kind"] == "phrase") & (texts["split"] != "train")]
    first = (evaluated if len(evaluated) else texts).iloc[0]
    paths = tables.read("images", images).set_index("image_id")["path"]
    picture = read_photograph(tables.image_path(images, paths[first["image_id"]]))
    picture.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=85)
    return buffer.getvalue(), str(first["text"])


def dataset_of(study: Study, name: str) -> dict[str, str]:
    """A table's file as an MLflow data set: name, digest of its bytes, source beside the study, rows."""
    path = study.root / f"{name}.parquet"
    return {
        "name": f"{study.root.name}/{path.stem}",
        "digest": file_digest(path),
        "source_type": "local",
        "source": json.dumps({"uri": path.relative_to(study.root.parent).as_posix()}),
        "profile": json.dumps({"num_rows": pq.read_metadata(path).num_rows}),
    }


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested config as MLflow's params: dotted keys, lists as JSON, long values cut to MLflow's limit."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if len(text) > MAX_PARAM_LENGTH:
            text = text[: MAX_PARAM_LENGTH - 1] + "…"
        flat[mlflow_name(name)[:MAX_KEY_LENGTH]] = text
    return flat


def mlflow_name(name: str) -> str:
    """`name` in the letters that MLflow takes in keys: `acc@0.5` -> `acc_0.5`, `b+` -> `b_plus`."""
    return re.sub(r"[^\w.\- /]", "_", name.replace("+", "_plus"))


def read_mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """What a stage left beside a checkpoint, YAML or JSON by `parse`; `UserError` if it is no mapping."""
    try:
        value = parse(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({error}); rerun the stage that writes it") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold keys and values; rerun the stage that writes it")
    return value
