"""The result files of a study as run records: what each MLflow run will hold. Reads files, writes
none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from camground.study import tables
from camground.study.errors import UserError
from camground.study.provenance import config_digest, file_digest

# MLflow's limits; a value beyond them would fail the whole batch.
MAX_PARAM_LENGTH = 6000
MAX_KEY_LENGTH = 250


@dataclass(frozen=True)
class Metric:
    """One value of a curve; `share` in [0, 1] is when in the run's life it was measured."""

    name: str
    value: float
    step: int = 0
    share: float = 1.0


@dataclass
class Run:
    """One MLflow run. `key` identifies it in its experiment: a rerun with the same key supersedes
    it."""

    key: str
    name: str
    stage: str
    variant: str
    seed: int | None
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    ended: float = 0.0
    parent: str | None = None

    @property
    def digest(self) -> str:
        """Changes when anything that the run shows changes; file times do not count."""
        hasher = hashlib.sha256()
        content: list[Any] = [self.key, self.name, self.params, self.tags]
        content.append([(m.name, repr(m.value), m.step) for m in self.metrics])
        hasher.update(json.dumps(content, sort_keys=True).encode())
        for path in self.files:
            hasher.update(path.name.encode() + file_digest(path).encode())
        return hasher.hexdigest()[:32]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested config as MLflow params: dotted keys, lists as JSON, long values cut to MLflow's
    limit."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
            continue
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        if len(text) > MAX_PARAM_LENGTH:
            text = text[: MAX_PARAM_LENGTH - 1] + "…"
        flat[allowed(name)[:MAX_KEY_LENGTH]] = text
    return flat


def allowed(name: str) -> str:
    """`name` in the letters that MLflow takes in keys: `acc@0.5` -> `acc_0.5`, `ref+` ->
    `ref_plus`."""
    name = name.replace("@", "_").replace("+", "_plus").replace("=", "_")
    return re.sub(r"[^\w.\- /]", "_", name)


def metric_name(split: str, metric: str, group: str) -> str:
    """`test/acc_0.5`, and for a group `test_by_flavour/acc_0.5_ref_plus`: one UI section a
    grouping."""
    if group == "all":
        return allowed(f"{split}/{metric}")
    key, _, value = group.partition("=")
    return allowed(f"{split}_by_{key}/{metric}_{value}")


def read_yaml(path: Path) -> dict[str, Any]:
    """A resolved config saved beside a checkpoint."""
    try:
        value = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot read the resolved config ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a mapping; rerun the stage that writes it")
    return value


def read_summary(path: Path) -> dict[str, Any]:
    """`summary.json` of a training stage: flat name -> number (or short text)."""
    try:
        value = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot read the summary ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; rerun the stage that writes it")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def history_metrics(path: Path, stage: str) -> list[Metric]:
    """`history.parquet` as curves; a name without a section gets the stage's."""
    history = tables.read("history", path)
    last = max(float(history["step"].max()), 1.0) if len(history) else 1.0
    return [
        Metric(
            allowed(name if "/" in name else f"{stage}/{name}"),
            float(value),
            int(step),
            step / last,
        )
        for step, name, value in zip(
            history["step"], history["name"], history["value"], strict=True
        )
    ]


def evaluation_metrics(rows: Iterable[Mapping[str, Any]], groups: Iterable[str]) -> list[Metric]:
    """Rows of table `metrics` of group `all` and of the named groupings (`flavour`, `size`,
    ...)."""
    kept = {"all", *groups}
    return [
        Metric(metric_name(row["split"], row["metric"], row["group"]), row["value"])
        for row in rows
        if row["group"].partition("=")[0] in kept
    ]


def trained(folder: Path, stage: str, key: str, name: str, variant: str) -> Run:
    """The record of a training stage's folder (config, summary, history)."""
    config, summary = read_yaml(folder / "config.yaml"), read_summary(folder / "summary.json")
    seed = config.get("seed")
    run = Run(key, name, stage, variant, seed if isinstance(seed, int) else None)
    run.params = flatten(config)
    run.metrics = history_metrics(folder / "history.parquet", stage)
    run.metrics += [
        Metric(allowed(f"training/{k}"), float(v)) for k, v in summary.items() if _is_number(v)
    ]
    run.files = [folder / "config.yaml", folder / "summary.json"]
    run.tags = {"config_sha": config_digest(config)}
    if isinstance(summary.get("git_sha"), str):
        run.tags["git_sha"] = summary["git_sha"]
    seconds = summary.get("seconds", 0.0)
    run.seconds = float(seconds) if _is_number(seconds) else 0.0
    run.ended = (folder / "summary.json").stat().st_mtime
    return run


def evaluated(folder: Path, run: Run, groups: Iterable[str]) -> Run:
    """`run` with the metrics that `evaluate` wrote to `folder`."""
    path = folder / "metrics.parquet"
    run.metrics += evaluation_metrics(tables.read_arrow("metrics", path).to_pylist(), groups)
    run.files.append(path)
    run.ended = max(run.ended, path.stat().st_mtime)
    return run


def ablation_metrics(rows: Iterable[Mapping[str, Any]], variant: str) -> list[Metric]:
    """A variant's rows of table `ablation`, group `all`: mean, deviation, difference with its p."""
    found = []
    for row in rows:
        if row["variant"] != variant or row["group"] != "all":
            continue
        name = metric_name(row["split"], row["metric"], "all")
        found.append(Metric(name, row["mean"]))
        section, _, metric = name.partition("/")
        found += [
            Metric(f"{section}_{part}/{metric}", row[part])
            for part in ("deviation", "difference", "p_holm")
            if row[part] is not None
        ]
    return found


def study(root: Path, config: Mapping[str, Any], groups: Iterable[str]) -> list[Run]:
    """Every run of the study below `root` (R/D): matcher, variants, baselines, each parent before
    its children. Raises `UserError` naming the file that is missing."""
    dataset, groups = config["dataset"], list(groups)
    ablation = tables.read_arrow("ablation", root / "ablation.parquet").to_pylist()
    matcher = trained(root / "matcher", "matcher", f"{dataset}/matcher", "matcher", "matcher")
    runs = [matcher]
    for stage, names in (("train", config["variants"]), ("baselines", config["baselines"])):
        for variant in names:
            parent = Run(f"{dataset}/{stage}/{variant}", variant, stage, variant, None)
            parent.metrics = ablation_metrics(ablation, variant)
            children: list[Run] = []
            for seed in config["seeds"]:
                folder = root / variant / f"seed{seed}"
                # A baseline without chance has the first seed alone.
                if stage == "baselines" and children and not folder.exists():
                    continue
                key, name = f"{parent.key}/s{seed}", f"{stage}/{variant}/s{seed}"
                if stage == "train":
                    run = trained(folder / "train", stage, key, name, variant)
                else:
                    run = Run(key, name, stage, variant, seed)
                run.seed, run.parent = seed, parent.key
                children.append(evaluated(folder, run, groups))
            parent.ended = max(child.ended for child in children)
            parent.seconds = sum(child.seconds for child in children)
            runs += [parent, *children]
    return runs


def protocol(root: Path) -> str:
    """Whose boxes the grounder chooses among: `ground-truth` or `detected` proposals."""
    path = root / "proposals" / "proposals.parquet"
    sources = set(tables.read_arrow("proposals", path, ["source"])["source"].unique().to_pylist())
    # an image without any true box falls back to the whole image
    true = "ground_truth" in sources and sources <= {"ground_truth", "whole_image"}
    return "ground-truth" if true else "detected"


def _column_type(kind: pa.DataType) -> dict[str, Any]:
    """An Arrow type in MLflow's names."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"type": "array", "items": _column_type(kind.value_type)}
    names = {"int32": "integer", "int64": "long", "float": "float", "double": "double"}
    return {"type": names.get(str(kind), str(kind))}


def dataset_of(path: Path, root: Path) -> dict[str, str]:
    """A table's file as an MLflow dataset: name, digest of its bytes, source below `root`,
    columns, rows."""
    parquet = pq.ParquetFile(path)
    columns = [
        {**_column_type(column.type), "name": column.name, "required": not column.nullable}
        for column in parquet.schema_arrow
    ]
    return {
        "name": f"{root.name}/{path.stem}",
        "digest": file_digest(path),
        "source_type": "local",
        "source": json.dumps({"uri": path.relative_to(root.parent).as_posix()}),
        "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps({"num_rows": parquet.metadata.num_rows}),
    }
