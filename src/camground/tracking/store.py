"""The MLflow store: where it is, how it is created, where its artifacts are.

The local store is `mlflow.db` (SQLite) with the folder `mlartifacts` beside it. Runs hold their artifact
address in MLflow's proxied scheme (`mlflow-artifacts:/1/<run>/artifacts`), never as a path, so the folder can
be moved or copied: `mlflow server --artifacts-destination <folder>/mlartifacts` resolves the scheme wherever
the folder is. MLflow's client without a server cannot; `repository`, which reads and writes the folder
directly, is entered for it as a plug-in of MLflow's (pyproject.toml), so that `mlflow models serve` and
MLflow's other commands take the store as it lies.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from camground.study import tables
from camground.study.errors import UserError, storage_error
from camground.study.progress import log

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEME = "mlflow-artifacts"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
FILE_ADDRESS = "sqlite+pysqlite:///file:"
PATIENCE = 600  # seconds that a lock of another program is waited for


@dataclass(frozen=True)
class Store:
    """A tracking address; `database` is the SQLite file of a local store, None for a server."""

    uri: str
    database: Path | None

    @classmethod
    def local(cls, database: Path) -> Store:
        """The SQLite file `database`, at an address that any path fits into and whose lock is waited for."""
        database = database.resolve()
        # With the driver's name, MLflow does not take SQLite's own `file:` for a folder to make.
        address = f"{FILE_ADDRESS}{quote(str(database))}?timeout={PATIENCE}&uri=true"
        return cls(address, database)

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
    chosen = os.environ.get("MLFLOW_TRACKING_URI") or uri
    return store_at(chosen) if chosen else Store.local(Path(results) / DATABASE)


def store_at(chosen: str) -> Store:
    """The store at an address; `UserError` for one that is none."""
    if chosen.startswith(FILE_ADDRESS):  # ours, which MLflow puts into the environment
        return Store.local(Path(unquote(chosen.removeprefix(FILE_ADDRESS).partition("?")[0])))
    if chosen.startswith("sqlite:///"):
        path = unquote(chosen.removeprefix("sqlite:///").partition("?")[0])
        return Store.local(Path(path).expanduser())
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

    for name in ("alembic", "mlflow.utils.requirements_utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs the traceback of what it also raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


@contextmanager
def sole_writer(store: Store) -> Iterator[None]:
    """Keep every other process of ours out of a local store; the kernel lets go of a dead one's lock.

    Two that migrate a fresh SQLite file at once crash each other, and two that bring in the same study would
    each make its runs. May be nested.
    """
    if store.database is None:
        yield
        return
    from filelock import FileLock, Timeout

    store.database.parent.mkdir(parents=True, exist_ok=True)
    path = store.database.with_name(f".{store.database.name}.lock")
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process, which is writing to %s", store.database)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def initialise(store: Store) -> None:
    """Create and migrate a local store if that has not been done; any number of processes may call it."""
    if store.database is None or store.artifacts is None:
        return
    import_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def migrate(one: Store) -> None:
        SqlAlchemyStore(one.uri, f"{SCHEME}:/").engine.dispose()

    with sole_writer(store), explained(store, opening=True):
        store.artifacts.mkdir(parents=True, exist_ok=True)
        if store.database.exists():
            migrate(store)
        else:
            # A process that is killed while it makes the tables leaves none that the next would stumble over.
            with tables.atomic(store.database) as temporary:
                migrate(Store.local(temporary))


@contextmanager
def explained(store: Store, opening: bool = False) -> Iterator[None]:
    """Turn what the store's place is to blame for into a `UserError` that says what to do: a full disk, a
    lock, a server that is down; while it is `opening`, any error of a local store too."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    name = store.database or store.public_name
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        if storage := storage_error(error, name):
            raise storage from None
        reason = str(error).strip().splitlines()[0]
        if "database is locked" in str(error):
            raise UserError(
                f"{name}: another program has held it locked for {PATIENCE} s; wait for it or end it, then"
                " run the same command again"
            ) from None
        if store.database is None:
            raise UserError(
                f"MLflow store {name} cannot be reached ({reason}); start the server, or unset"
                " MLFLOW_TRACKING_URI and config key tracking.uri to use the local store"
            ) from None
        if not opening:
            raise
        raise UserError(
            f"{name}: not usable as an MLflow store ({reason}); run `mlflow db upgrade '{store.uri}'`, or"
            f" move it and {ARTIFACTS}/ away: a study's runs are made again from its results"
        ) from None


def connect(store: Store) -> MlflowClient:
    """A client of the store, which it initialises; also points MLflow's functions of this process at it."""
    mlflow = import_mlflow()
    initialise(store)
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    # What the plug-in does where the package is installed, and not only imported from a checkout.
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    _artifact_repository_registry.register(SCHEME, repository)
    client: MlflowClient = mlflow.MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
    with explained(store, opening=True):
        client.search_experiments(max_results=1)
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


def is_whole(written: Path, store: Store) -> bool:
    """Whether the local store has all that the file `written` (tracking.json) says was brought into it; in
    milliseconds, without MLflow. A server is trusted, and a store that is locked just now too."""
    try:
        done = json.loads(written.read_text())
        if store.database is None or store.artifacts is None or done["store"] != store.public_name:
            return True
        # SQLite would make a database that is not there
        address = f"file:{quote(str(store.database))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            live = database.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'").fetchall()
    except (OSError, ValueError, KeyError, sqlite3.Error) as error:
        return "locked" in str(error)
    runs = set(done["runs"].values()) <= {run for (run,) in live}
    return runs and all(
        sum(len(files) for *_, files in os.walk(store.artifacts / folder)) >= count
        for folder, count in done["artifacts"].items()
    )


def artifact_folder(address: str) -> str:
    """The folder of an artifact address of a local store, below that of all artifacts."""
    return unquote(urlsplit(address).path).lstrip("/")


def artifact_sizes(list_folder: Callable[[str | None], Iterable[Any]]) -> dict[str, int]:
    """Sizes of artifacts in bytes, by path. `list_folder`: the client's list of what a folder holds."""
    found: dict[str, int] = {}
    folders: list[str | None] = [None]
    while folders:
        for item in list_folder(folders.pop()):
            if item.is_dir:
                folders.append(item.path)
            else:
                found[item.path] = item.file_size
    return found


def repository(artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
    """MLflow's repository of an `mlflow-artifacts:` address: the folder beside the SQLite file of
    `tracking_uri`, or else of this process's; with a server, or without that folder, what the scheme always
    means.

    `UserError` for an address that leads out of the folder."""
    import mlflow
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    address = tracking_uri or mlflow.get_tracking_uri()
    folder = store_at(address).artifacts if address.startswith("sqlite") else None
    if folder is None or not folder.is_dir():
        return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
    path = (folder / artifact_folder(artifact_uri)).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"artifact address {artifact_uri} points outside {folder.name}")
    path.mkdir(parents=True, exist_ok=True)
    return LocalArtifactRepository(path.as_uri(), tracking_uri, registry_uri)
