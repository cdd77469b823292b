"""`python -m camground.tracking init|ingest|ui`: make the store, bring it in line with the files,
browse it."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.stage import read_config, run
from camground.tracking.store import SCHEME, find_store, import_mlflow, initialise


def _write_json(value: dict[str, Any], path: Path) -> None:
    with tables.atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _init(options: argparse.Namespace) -> None:
    config = read_config(options.config)
    store = find_store(options.output.parent, config["tracking"].get("uri"))
    initialise(store)
    _write_json({"store": store.public_name}, options.output)


def _ingest(options: argparse.Namespace) -> None:
    from camground.tracking.ingest import ingest

    config = read_config(options.config)
    missing = {"dataset", "seeds", "variants", "baselines", "tracking"} - config.keys()
    if missing:
        raise UserError(f"--config lacks the keys {sorted(missing)}")
    store = find_store(options.results or options.root.parent, config["tracking"].get("uri"))
    _write_json(ingest(config, options.root, store, options.report, options.model), options.output)


def _ui(options: argparse.Namespace) -> None:
    store = find_store(options.results)
    if store.database is None:
        log.info("MLFLOW_TRACKING_URI is set: browse the server at %s", store.public_name)
        return
    if not store.database.exists():
        raise UserError(f"{options.results}: no {store.database.name} there; run snakemake first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise UserError(f"port {options.port} of {options.host}: {error}; try --port") from None
    import_mlflow()
    log.info("MLflow UI: http://%s:%d (Ctrl-C ends it)", options.host, options.port)
    arguments = [sys.executable, "-m", "mlflow", "server"]
    arguments += ["--backend-store-uri", store.uri, "--default-artifact-root", f"{SCHEME}:/"]
    arguments += ["--artifacts-destination", str(store.artifacts), "--workers", "1"]
    arguments += ["--host", options.host, "--port", str(options.port)]
    sys.stderr.flush()
    os.execv(sys.executable, arguments)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the chosen part."""
    top = argparse.ArgumentParser(prog="python -m camground.tracking", description=__doc__)
    parts = top.add_subparsers(required=True)

    init = parts.add_parser("init", help="make the local store once, before anything writes to it")
    init.add_argument("--config", required=True, help='JSON: {"tracking": {..}}')
    init.add_argument(
        "--output", type=Path, required=True, help="marker file in the results folder"
    )
    init.set_defaults(part=_init)

    ingest = parts.add_parser("ingest", help="bring the store in line with a study's files")
    ingest.add_argument(
        "--config", required=True, help="JSON: dataset, seeds, variants, baselines, tracking"
    )
    ingest.add_argument("--root", type=Path, required=True, help="the study's folder, R/D")
    ingest.add_argument("--results", type=Path, help="where the store is (default: above --root)")
    ingest.add_argument("--report", type=Path, action="append", default=[], help="report.html")
    ingest.add_argument("--model", type=Path, help="headline checkpoint (default: by val captions)")
    ingest.add_argument("--output", type=Path, required=True, help="what was written, as JSON")
    ingest.set_defaults(part=_ingest)

    ui = parts.add_parser("ui", help="serve the MLflow UI on the local store")
    ui.add_argument("--results", type=Path, default=Path("results"))
    ui.add_argument("--host", default="127.0.0.1")
    ui.add_argument("--port", type=int, default=5000)
    ui.set_defaults(part=_ui)

    options = top.parse_args(arguments)
    options.part(options)


if __name__ == "__main__":
    run("tracking", main)
