"""MLflow's pages on the local store: the links that show training runs, and the server."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from camground.study.errors import UserError
from camground.study.progress import log
from camground.tracking.store import SCHEME, Store, find_store, import_mlflow, initialise

VIEW = "accuracy"  # of an experiment's training runs


def training_runs(database: Path) -> dict[str, str]:
    """The page of each experiment's training runs below the server's address, by the experiment's name, the
    one written last first. The experiment's own page would be MLflow's GenAI one."""
    address = f"file:{quote(str(database))}?mode=ro"
    query = (
        "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active' AND experiment_id != 0"
    )
    with closing(sqlite3.connect(address, uri=True)) as connection:
        rows = connection.execute(f"{query} ORDER BY last_update_time DESC").fetchall()
    view = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
    return {name: f"#/experiments/{number}/runs?{view}" for name, number in rows}


def view_of(split: str) -> tuple[str, str]:
    """Tag of an experiment, its name and value, that keeps the view of `training_runs`: accuracy in sight,
    the highest first."""
    accuracy = f"metrics.`{split}/acc_0.5`"
    columns = [accuracy, *(f"metrics.`{split}{name}`" for name in ("_difference/acc_0.5", "_p_holm/acc_0.5"))]
    state = {"selectedColumns": columns, "orderByKey": accuracy, "orderByAsc": False}
    return f"mlflow.sharedViewState.{VIEW}", json.dumps(state)


def serve(
    results: Path,
    host: str,
    port: int,
    browser: bool = False,
    follow: Callable[[Store, threading.Event], None] | None = None,
) -> None:
    """Run MLflow's server on the local store in `results` until it ends.

    browser: open the training runs there once it answers. follow: what runs beside it, until the event is
    set. `UserError` without a store, or a training that could be followed into a new one, or a free port.
    """
    store = find_store(results)
    if store.database is None or store.artifacts is None:
        log.info("MLFLOW_TRACKING_URI is set: browse the server at %s", store.public_name)
        return
    if not store.database.exists():
        if follow is None or not any(results.glob("*/resume/*/resume.pt")):
            raise UserError(f"{results}: has no {store.database.name}; run snakemake first")
        initialise(store)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"port {port} of {host}: {error}; try --port") from None
    import_mlflow()
    pages = training_runs(store.database)
    links = {name: f"http://{host}:{port}/{page}" for name, page in pages.items()}
    for name, link in links.items() or [("MLflow", f"http://{host}:{port}")]:
        log.info("%s: %s", name, link)
    log.info("Ctrl-C ends the server")
    arguments = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    arguments += ["--backend-store-uri", store.uri, "--default-artifact-root", f"{SCHEME}:/"]
    arguments += ["--artifacts-destination", store.artifacts.as_uri(), "--workers", "1"]
    if browser and links:
        opener = threading.Thread(
            target=open_once_served, args=(host, port, next(iter(links.values()))), daemon=True
        )
        opener.start()
    ended = threading.Event()
    if follow is not None:
        threading.Thread(target=follow, args=(store, ended), daemon=True).start()
    with subprocess.Popen(arguments) as server, suppress(KeyboardInterrupt):
        # Ctrl-C reaches the server by itself
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        server.wait()
    ended.set()


def open_once_served(host: str, port: int, link: str, patience: float = 120) -> bool:
    """Open `link` in a browser with a window as soon as the port answers; whether there was one."""
    has_window = (
        sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    until = time.monotonic() + patience
    while has_window and time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return webbrowser.open(link)
        time.sleep(0.3)
    return False
