"""The MLflow store: where it is, how it is created, where its artifacts are, and serving its pages.

The local store is `mlflow.db` (SQLite) with the folder `mlartifacts` beside it. Runs hold their artifact
address in MLflow's proxied scheme (`mlflow-artifacts:/1/<run>/artifacts`), never as a path, so the folder can
be moved or copied: `mlflow server --artifacts-destination <folder>/mlartifacts` resolves the scheme wherever
the folder is. MLflow's client without a server cannot; `connect` registers a repository that reads and writes
the folder directly.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from camground.study.errors import UserError
from camground.study.progress import log

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEME = "mlflow-artifacts"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


@dataclass(frozen=True)
class Store:
    """A tracking address; `database` is the SQLite file of a local store, None for a server."""

    uri: str
    database: Path | None

    @property
    def artifacts(self) -> Path | None:
        """The folder of a local store's artifacts, beside its database."""
        return self.database.parent / ARTIFACTS if self.database else None

    @property
    def public_name(self) -> str:
        """What may be written to files: no path of this machine and no password."""
        if self.database:
            return self.database.name
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


def find_store(results: str | Path, uri: str | None = None) -> Store:
    """The store of a results folder: MLFLOW_TRACKING_URI, else config `tracking.uri`, else SQLite in it."""
    local = f"sqlite:///{quote(str(Path(results) / DATABASE))}"
    chosen = os.environ.get("MLFLOW_TRACKING_URI") or uri or local
    if chosen.startswith("sqlite:///"):
        database = Path(unquote(chosen.removeprefix("sqlite:///"))).expanduser().resolve()
        return Store(f"sqlite:///{database}", database)
    if urlsplit(chosen).scheme not in {"http", "https", "postgresql", "mysql", "mssql"}:
        raise UserError(
            f"tracking store {chosen!r}: use sqlite:///FILE, a server's http(s):// address or a"
            " database's (MLFLOW_TRACKING_URI or config key tracking.uri)"
        )
    return Store(chosen, None)


def import_mlflow() -> Any:
    """MLflow (3 s to import), quiet and without its usage reports."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    # Server-side jobs are not used here and start processes of their own.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server that is down is reported after seconds, not minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.utils.requirements_utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def initialise(store: Store) -> None:
    """Create and migrate a local store if that has not been done; any number of processes may call it.

    Two processes that migrate a fresh SQLite file at once crash each other, hence the file lock.
    """
    if store.database is None or store.artifacts is None:
        return
    import_mlflow()
    from filelock import FileLock
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    store.artifacts.mkdir(parents=True, exist_ok=True)
    with FileLock(store.database.with_name(f".{store.database.name}.lock"), timeout=300):
        try:
            SqlAlchemyStore(store.uri, f"{SCHEME}:/").engine.dispose()
        except (MlflowException, SQLAlchemyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{store.database}: not usable as an MLflow store ({reason}); run `mlflow db upgrade"
                f" {store.uri}`, or move it and {ARTIFACTS}/ away: it is made again from the results"
            ) from None


def connect(store: Store) -> MlflowClient:
    """A client of the store, which it initialises; also points MLflow's functions of this process at it."""
    mlflow = import_mlflow()
    initialise(store)
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    if store.artifacts is not None:
        _resolve_artifacts_to(store.artifacts)
    client: MlflowClient = mlflow.MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
    try:
        client.search_experiments(max_results=1)
    except mlflow.MlflowException as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"MLflow store {store.public_name} cannot be reached ({reason}); start the server, or"
            " unset MLFLOW_TRACKING_URI and config key tracking.uri to use the local store"
        ) from None
    return client


def experiment_id(client: MlflowClient, store: Store, name: str) -> str:
    """The experiment `name`, made if absent; `UserError` if it was deleted in the UI."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server chooses its own artifact location.
        folder = re.sub(r"[^\w+-]", "-", name)
        location = f"{SCHEME}:/{folder}" if store.database else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process may have made it since we looked.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow experiment {name!r} is in the bin: restore it (`mlflow experiments restore`),"
            " purge it (`mlflow gc`), or set config key tracking.experiment"
        )
    return str(experiment.experiment_id)


def serve(results: Path, host: str, port: int) -> None:
    """Become MLflow's server on the local store in `results`; `UserError` without a store or a free port."""
    store = find_store(results)
    if store.database is None:
        log.info("MLFLOW_TRACKING_URI is set: browse the server at %s", store.public_name)
        return
    if not store.database.exists():
        raise UserError(f"{results}: has no {store.database.name}; run snakemake first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"port {port} of {host}: {error}; try --port") from None
    import_mlflow()
    log.info("MLflow UI: http://%s:%d (Ctrl-C ends it)", host, port)
    arguments = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    arguments += ["--backend-store-uri", store.uri, "--default-artifact-root", f"{SCHEME}:/"]
    arguments += ["--artifacts-destination", str(store.artifacts), "--workers", "1"]
    sys.stderr.flush()
    os.execv(sys.executable, arguments)


def _resolve_artifacts_to(folder: Path) -> None:
    """Let this process read and write `mlflow-artifacts:` addresses in `folder`, without a server."""
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def repository(
        artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> LocalArtifactRepository:
        inside = unquote(urlsplit(artifact_uri).path).lstrip("/")
        path = (folder / inside).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise UserError(f"artifact address {artifact_uri} points outside {folder.name}")
        path.mkdir(parents=True, exist_ok=True)
        return LocalArtifactRepository(str(path), tracking_uri, registry_uri)

    # The registry instance is not public, but the plug-in entry point that is would change the
    # scheme for every project in the environment, servers included.
    _artifact_repository_registry.register(SCHEME, repository)
