"""The records of a study into the MLflow store. A run whose content is unchanged is kept; one that
was rerun supersedes the old one (found by its tag `job_key`), so nothing is doubled."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camground.grounder.model_folder import GroundingSettings, save_model
from camground.study import tables
from camground.study.progress import log, track
from camground.study.provenance import config_digest, git_sha
from camground.tracking import records
from camground.tracking.records import Run
from camground.tracking.store import Store, connect, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100


class Ingest:
    """Writes run records to one experiment. `runs` maps job key -> run id; `created` and `kept`
    count."""

    def __init__(self, client: MlflowClient, experiment: str, git: str) -> None:
        self.client, self.experiment, self.git = client, experiment, git
        self.runs: dict[str, str] = {}
        self.created = self.kept = 0
        self._old: dict[str, list[Any]] = {}
        for run in self._all_runs():
            key = run.data.tags.get("job_key")
            if key:
                self._old.setdefault(key, []).append(run)

    def _all_runs(self) -> Iterable[Any]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def put(self, run: Run, inputs: Mapping[str, Sequence[dict[str, str]]]) -> str:
        """Make `run` the only live run of its key; `inputs` maps context -> datasets. Returns its
        id."""
        digest = run.digest + config_digest(dict(inputs))
        parent = self.runs[run.parent] if run.parent else None
        unchanged = [
            old
            for old in self._old.get(run.key, [])
            if old.data.tags.get("content_digest") == digest and old.info.status == "FINISHED"
        ]
        kept = unchanged[0] if unchanged else None
        if kept is not None:
            self.kept += 1
            new = kept.info.run_id
            if parent and kept.data.tags.get("mlflow.parentRunId") != parent:
                self.client.set_tag(new, "mlflow.parentRunId", parent)
        else:
            self.created += 1
            new = self._create(run, digest, parent, inputs)
        # Only now, so that a crash while writing leaves the old run in place.
        for old in self._old.get(run.key, []):
            if old.info.run_id != new:
                self.client.delete_run(old.info.run_id)
        self._old.pop(run.key, None)
        self.runs[run.key] = new
        return str(new)

    def _create(self, run: Run, digest: str, parent: str | None, inputs: Mapping[str, Any]) -> str:
        from mlflow.entities import Metric, Param

        ended = int((run.ended or time.time()) * 1000)
        started = ended - int(run.seconds * 1000)
        tags = {"git_sha": self.git, "config_sha": "none", **run.tags}
        tags |= {"mlflow.source.name": f"camground.{run.stage}", "mlflow.source.type": "LOCAL"}
        tags |= {"job_key": run.key, "stage": run.stage, "variant": run.variant}
        tags["seed"] = "all" if run.seed is None else str(run.seed)
        if parent:
            tags["mlflow.parentRunId"] = parent
        made = self.client.create_run(self.experiment, started, tags, run.name).info.run_id
        params = [Param(key, value) for key, value in run.params.items()]
        for at in range(0, len(params), PARAMS_PER_BATCH):
            self.client.log_batch(made, params=params[at : at + PARAMS_PER_BATCH])
        metrics = [
            Metric(m.name, m.value, started + int((ended - started) * m.share), m.step)
            for m in run.metrics
        ]
        for at in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(made, metrics=metrics[at : at + METRICS_PER_BATCH])
        self._log_inputs(made, inputs)
        for path in run.files:
            folder = "figures" if path.suffix == ".png" else None
            self.client.log_artifact(made, str(path), folder)
        self.client.set_tag(made, "content_digest", digest)
        self.client.set_terminated(made, "FINISHED", ended)
        return str(made)

    def _log_inputs(self, run_id: str, inputs: Mapping[str, Sequence[dict[str, str]]]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        listed = [
            DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", context)])
            for context, datasets in inputs.items()
            for dataset in datasets
        ]
        if listed:
            self.client.log_inputs(run_id, listed)

    def remove_others(self, prefix: str) -> int:
        """Delete the live runs below `prefix` that no record claimed: variants and seeds no longer
        in the config. Returns how many."""
        stale = [
            run
            for key, runs in self._old.items()
            if key.startswith(prefix) and key not in self.runs
            for run in runs
        ]
        for run in stale:
            self.client.delete_run(run.info.run_id)
        return len(stale)


def study_datasets(root: Path) -> dict[str, list[dict[str, str]]]:
    """The study's tables by what they are used for; `targets` only ever for evaluation."""
    data = root / "data"
    training = [
        data / "images.parquet",
        data / "expressions.parquet",
        root / "proposals" / "proposals.parquet",
        root / "gradcam" / "cams.parquet",
    ]
    return {
        "training": [records.dataset_of(path, root) for path in training],
        "evaluation": [records.dataset_of(data / "targets.parquet", root)],
    }


def experiment_tags(config: Mapping[str, Any], protocol: str) -> dict[str, str]:
    """What the experiment is, and the description that the UI shows above its runs."""
    return {
        "dataset": config["dataset"],
        "protocol": protocol,
        # Opens the UI on training runs; without it MLflow 3 guesses and may show its GenAI pages.
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.note.content": (
            f"Weakly supervised grounding on **{config['dataset']}**, {protocol} proposals."
            " A parent run a variant or baseline (means over seeds), a child a seed. The run"
            " `ablation` holds the table, the report and the pictures. Written from the result files"
            " by `python -m camground.tracking ingest`."
        ),
    }


def ablation_run(root: Path, config: Mapping[str, Any], reports: Iterable[Path]) -> Run:
    """The run that holds the study's result: table, report and pictures."""
    dataset = config["dataset"]
    run = Run(f"{dataset}/ablation", "ablation", "ablation", "all", None)
    ablation = tables.read_arrow("ablation", root / "ablation.parquet").to_pylist()
    for variant in [*config["variants"], *config["baselines"]]:
        run.metrics += [
            records.Metric(f"{metric.name}/{variant}", metric.value)
            for metric in records.ablation_metrics(ablation, variant)
            if metric.name.startswith("test/acc_")
        ]
    tables_ = [root / f"ablation.{ending}" for ending in ("parquet", "csv", "md", "tex")]
    figures = sorted((root / "figures").glob("*.png"))
    run.files = [path for path in [*tables_, *reports, *figures] if path.exists()]
    run.ended = max(path.stat().st_mtime for path in run.files)
    return run


def headline_checkpoint(root: Path, config: Mapping[str, Any]) -> Path:
    """The reference variant's seed with the best score on the val captions (config
    `tracking.select_by`), never chosen by boxes."""
    options = config["tracking"]
    variant = options["model_variant"]
    folders = [root / variant / f"seed{seed}" / "train" for seed in config["seeds"]]

    def score(folder: Path) -> float:
        value = records.read_summary(folder / "summary.json").get(options["select_by"])
        return float(value) if isinstance(value, int | float) else float("-inf")

    return max(folders, key=score)


def ingest(
    config: Mapping[str, Any],
    root: Path,
    store: Store,
    reports: Sequence[Path] = (),
    model: Path | None = None,
) -> dict[str, Any]:
    """Bring the store in line with the files below `root` (R/D). Returns what was done, as JSON.

    `config` has `dataset`, `seeds`, `variants`, `baselines` (names) and `tracking`, and for the logged
    model `proposals` and `gradcam`. `model` is the checkpoint folder of the headline model; None takes
    `headline_checkpoint`.
    """
    options = config["tracking"]
    runs = records.study(root, config, options["groups"])
    inputs = study_datasets(root)
    client = connect(store)
    protocol = records.protocol(root)
    name = options.get("experiment") or f"{config['dataset']}-{protocol}"
    experiment = experiment_id(client, store, name)
    for key, value in experiment_tags(config, protocol).items():
        client.set_experiment_tag(experiment, key, value)
    writer = Ingest(client, experiment, git_sha())
    no_training = {"evaluation": [*inputs["training"], *inputs["evaluation"]]}
    for run in track(runs, "MLflow runs"):
        of_parent = run.parent is None and run.stage != "matcher"
        if run.stage == "matcher":
            used: Mapping[str, Any] = {"training": inputs["training"][:2]}
        else:
            used = {} if of_parent else inputs if run.stage == "train" else no_training
        writer.put(run, used)
    summary = ablation_run(root, config, reports)
    before = writer.created
    summary_id = writer.put(summary, no_training)
    if writer.created > before:
        table = tables.read("ablation", root / "ablation.parquet")
        client.log_table(summary_id, table, "ablation.json")
    removed = writer.remove_others(f"{config['dataset']}/")
    result: dict[str, Any] = {
        "store": store.public_name,
        "experiment": name,
        "created": writer.created,
        "kept": writer.kept,
        "removed": removed,
        "runs": writer.runs,
    }
    if options["log_model"]:
        from camground.tracking.model import log_headline

        checkpoint = model or headline_checkpoint(root, config)
        sections = {name: config[name] for name in GroundingSettings.model_fields}
        settings = GroundingSettings.parse(sections)
        folder = save_model(checkpoint, root / "matcher", settings, root / "model")
        source = checkpoint.relative_to(root.parent).as_posix()
        result["model"] = log_headline(client, experiment, summary_id, folder, source)
    log.info(
        "MLflow experiment %s: %d runs written, %d unchanged, %d removed",
        name,
        writer.created,
        writer.kept,
        removed,
    )
    return result
