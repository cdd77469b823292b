"""Curves of trainings that still run, in MLflow: followed from outside, so that no training waits for a
store.

A training keeps its history in its resume file, which it replaces after every epoch. `Follower` reads these
files and brings what is new into a run of its own, a batch for each file; when the training ends, that run
goes, since the stage `tracking` writes the finished one. What cannot be read or written is tried again the
next time.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camground.study.progress import log
from camground.tracking.records import CURVES, mlflow_name
from camground.tracking.store import Store, connect, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

LIVE = "live"  # tag of a run that is followed: study and training
BATCH = 1000  # MLflow takes no more metrics at once
INTERVAL = 10.0


class Follower:
    """Brings the histories of the trainings below a results folder into its store. `update` is to be called
    again and again."""

    def __init__(self, results: Path, store: Store) -> None:
        self.results, self.client = results, connect(store)
        self.store = store
        self._runs: dict[Path, str] = {}
        self._steps: dict[Path, int] = {}
        self._read: dict[Path, float] = {}
        # what one that was killed has left
        for run in live_runs(self.client):
            self.client.delete_run(run.info.run_id)

    def update(self) -> int:
        """How many values were new."""
        files = set(self.results.glob("*/resume/*/resume.pt"))
        for file in self._runs.keys() - files:
            self.client.delete_run(self._runs.pop(file))
            self._steps.pop(file)
        return sum(self._follow(file) for file in sorted(files))

    def _follow(self, file: Path) -> int:
        from mlflow.entities import Metric

        changed = file.stat().st_mtime
        if self._read.get(file) == changed:
            return 0
        history = read_history(file)
        if file not in self._runs:
            self._runs[file] = self._start(file)
        last = self._steps.get(file, -1)
        new = [row for row in history if row["step"] > last and row["name"] in CURVES]
        now = int(time.time() * 1000)
        metrics = [Metric(mlflow_name(row["name"]), row["value"], now, row["step"]) for row in new]
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(self._runs[file], metrics[first : first + BATCH])
        self._steps[file] = max((row["step"] for row in new), default=last)
        self._read[file] = changed
        return len(metrics)

    def _start(self, file: Path) -> str:
        study, training = file.parts[-4], file.parts[-2]
        found = [e for e in self.client.search_experiments() if e.tags.get("dataset") == study]
        experiment = (
            found[0].experiment_id if found else experiment_id(self.client, self.store, f"{study}-detected")
        )
        tags = {LIVE: f"{study}/{training}", "stage": "train", "variant": training}
        run = self.client.create_run(experiment, tags=tags, run_name=f"running: {training}")
        return str(run.info.run_id)


def live_runs(client: MlflowClient) -> list[Any]:
    """The runs that are followed, or were by a follower that was killed."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string=f"tags.{LIVE} != ''", max_results=1000))


def read_history(file: Path) -> list[dict[str, Any]]:
    """Rows of the table `history` so far, of a training's resume file; its weights are not read."""
    import torch

    history: list[dict[str, Any]] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)[
        "history"
    ]
    return history


def follow(results: Path, store: Store, ended: threading.Event, interval: float = INTERVAL) -> None:
    """Follow the trainings until the event is set; problems are logged once each and tried again."""
    follower, told = None, set()
    while not ended.is_set():
        try:
            follower = follower or Follower(results, store)
            follower.update()
        except Exception as error:  # the pages are served whatever happens here
            if (text := f"{type(error).__name__}: {error}") not in told:
                told.add(text)
                log.warning("curves of running trainings: %s; trying again", text)
        ended.wait(interval)
