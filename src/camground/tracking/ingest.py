"""The records of a study into the MLflow store. A run whose content is unchanged is kept; one that was rerun
supersedes the old one (found by its tag `job_key`), so nothing is doubled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camground.evaluation.config import EvaluateConfig
from camground.grounder.model_folder import CALIBRATION, GroundingSettings, save_model
from camground.study import tables
from camground.study.progress import log, track
from camground.study.provenance import git_sha
from camground.tracking import records
from camground.tracking.config import TrackingConfig
from camground.tracking.pages import view_of
from camground.tracking.records import Run, Study
from camground.tracking.store import (
    Store,
    artifact_folder,
    artifact_sizes,
    connect,
    experiment_id,
    explained,
    import_mlflow,
    sole_writer,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 100  # MLflow takes no more params at once


class Writer:
    """Writes run records to one experiment. `runs` maps job key -> run id, `artifacts` a run's address of
    artifacts -> how many it has; `created` and `kept` count."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        import mlflow

        self.client, self.experiment, self.git = client, experiment, git_sha()
        self.runs: dict[str, str] = {}
        self.artifacts: dict[str, int] = {}
        self.created = self.kept = 0
        self._old: dict[str, list[Any]] = {}
        for run in mlflow.search_runs([experiment], output_format="list"):
            if "job_key" in run.data.tags:
                self._old.setdefault(run.data.tags["job_key"], []).append(run)

    def put(self, run: Run) -> None:
        """Make `run` the only live run of its key."""
        digest, parent = run.digest, self.runs[run.parent] if run.parent else None
        old_runs = self._old.pop(run.key, [])
        unchanged = [
            old
            for old in old_runs
            if old.data.tags.get("content_digest") == digest
            and old.info.status == "FINISHED"
            and self._has_artifacts(old, run)
        ]
        if unchanged:
            self.kept += 1
            run_id = str(unchanged[0].info.run_id)
            if parent and unchanged[0].data.tags.get("mlflow.parentRunId") != parent:
                self.client.set_tag(run_id, "mlflow.parentRunId", parent)
        else:
            self.created += 1
            run_id = self._create(run, digest, parent)
        # Only now, so that a crash while writing leaves the old run in place.
        for old in old_runs:
            if old.info.run_id != run_id:
                self.client.delete_run(old.info.run_id)
        self.runs[run.key] = run_id
        address = self.client.get_run(run_id).info.artifact_uri
        self.artifacts[address] = len(run.files) + bool(run.table)

    def _has_artifacts(self, old: Any, run: Run) -> bool:
        """Whether the store still has the files of `old`, whole."""
        sizes = {artifact_name(path): path.stat().st_size for path in run.files}
        found = artifact_sizes(partial(self.client.list_artifacts, old.info.run_id))
        table_there = not run.table or table_name(run.table) in found
        return table_there and sizes.items() <= found.items()

    def _create(self, run: Run, digest: str, parent: str | None) -> str:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        ended = int((run.ended or time.time()) * 1000)
        started = ended - int(run.seconds * 1000)
        tags = {"git_sha": self.git, "config_sha": "none", **run.tags}
        tags |= {"mlflow.source.name": f"camground.{run.stage}", "mlflow.source.type": "LOCAL"}
        tags |= {"job_key": run.key, "stage": run.stage, "variant": run.variant}
        tags["seed"] = "all" if run.seed is None else str(run.seed)
        if parent:
            tags["mlflow.parentRunId"] = parent
        run_id = self.client.create_run(self.experiment, started, tags, run.name).info.run_id
        params = [Param(key, value) for key, value in run.params.items()]
        metrics = [Metric(m.name, m.value, ended, m.step) for m in (*run.metrics, *run.system)]
        for first in range(0, max(len(params), len(metrics)), BATCH):
            batch = slice(first, first + BATCH)
            self.client.log_batch(run_id, metrics[batch], params[batch])
        datasets = [
            DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", context)])
            for context, listed in run.inputs.items()
            for dataset in listed
        ]
        if datasets:
            self.client.log_inputs(run_id, datasets)
        for path in run.files:
            folder = artifact_name(path).rpartition("/")[0] or None
            self.client.log_artifact(run_id, str(path), folder)
        if run.table:
            table = tables.read("ablation", run.table)
            self.client.log_table(run_id, table, table_name(run.table))
        self.client.set_tag(run_id, "content_digest", digest)
        self.client.set_terminated(run_id, "FINISHED", ended)
        return str(run_id)

    def remove_others(self, prefix: str) -> int:
        """Delete the live runs below `prefix` that no record claimed: variants and seeds that the config no
        longer has. Returns how many."""
        stale = [run for key, runs in self._old.items() if key.startswith(prefix) for run in runs]
        for run in stale:
            self.client.delete_run(run.info.run_id)
        return len(stale)


def artifact_name(path: Path) -> str:
    """What a file is called among a run's artifacts."""
    return f"figures/{path.name}" if path.suffix == ".png" else path.name


def table_name(path: Path) -> str:
    """What a table to show is called among a run's artifacts."""
    return f"{path.stem}.json"


def ingest(
    study: Study,
    config: TrackingConfig,
    evaluate: EvaluateConfig,
    settings: GroundingSettings,
    store: Store,
    reports: Sequence[Path] = (),
) -> dict[str, Any]:
    """Bring the store in line with the study's files. Returns what was done, as JSON.

    `evaluate` and `settings` are params of the run `ablation`; `settings` go into the logged model too.
    """
    import_mlflow()
    params = {"evaluate": evaluate.to_dict(), **settings.to_dict()}
    runs = records.study_runs(study, params, reports)
    with sole_writer(store), explained(store):
        client, protocol = connect(store), evaluate.proposals.replace("_", "-")
        name = config.experiment or f"{study.dataset}-{protocol}"
        experiment = experiment_id(client, store, name)
        tags = {
            "dataset": study.dataset,
            "protocol": protocol,
            # Opens the UI on training runs; without it MLflow 3 guesses and may show its GenAI pages.
            "mlflow.experimentKind": "custom_model_development",
            **dict([view_of(study.split)]),
            # What the UI shows above the runs.
            "mlflow.note.content": (
                f"Weakly supervised grounding on **{study.dataset}**, {protocol} proposals. A parent run is a"
                " variant or baseline (means over seeds), a child one seed. The run `ablation` holds the"
                " table, the report and the pictures. Written from the result files by `camground"
                " tracking`."
            ),
        }
        for key, value in tags.items():
            client.set_experiment_tag(experiment, key, value)
        writer = Writer(client, experiment)
        for run in track(runs, "MLflow runs"):
            writer.put(run)
        result: dict[str, Any] = {
            "store": store.public_name,
            "experiment": name,
            "created": writer.created,
            "kept": writer.kept,
            "removed": writer.remove_others(f"{study.dataset}/"),
            "runs": writer.runs,
        }
        if config.log_model and study.variants:
            from camground.tracking.model import FILES, log_headline, register

            seed = records.headline_seed(study)
            chosen = study.root / study.reference / f"seed{seed}"
            folder, card = study.root / "model", study.root / "model_card.md"
            save_model(
                *(chosen / "train", study.root / f"matcher/seed{seed}", chosen / CALIBRATION),
                *(settings, folder, card if card.exists() else None),
            )
            run_id = writer.runs[f"{study.dataset}/train/{study.reference}/s{seed}"]
            source = f"{study.root.name}/{study.reference}/seed{seed}/train"
            example = records.example(study)
            model = log_headline(client, experiment, run_id, folder, source, example)
            result["model"] = f"models:/{model.model_id}"
            result["registered"] = register(client, name, model.model_id)
            writer.artifacts[model.artifact_location] = int(model.tags[FILES])
        if store.database:
            result["artifacts"] = {artifact_folder(a): count for a, count in writer.artifacts.items()}
    log.info(
        "MLflow experiment %s: %d runs written, %d unchanged, %d removed",
        *(name, result["created"], result["kept"], result["removed"]),
    )
    return result
