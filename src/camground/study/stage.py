"""What every `python -m camground.<stage>` shares: its command line and how its errors look."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from camground.study.errors import UserError
from camground.study.progress import log, start_log


def read_config(text: str) -> dict[str, Any]:
    """The stage's part of the config: JSON text, as the workflow passes it, or the path of a JSON file."""
    try:
        value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"--config is neither JSON nor a JSON file: {error}") from None
    if not isinstance(value, dict):
        raise UserError("--config must be a JSON object")
    return value


def parser(stage: str, description: str | None) -> argparse.ArgumentParser:
    """An argument parser with `--config`, which every stage takes."""
    made = argparse.ArgumentParser(prog=f"python -m camground.{stage}", description=description)
    made.add_argument("--config", required=True, help="the stage's config: JSON, or a JSON file")
    return made


def run(stage: str, main: Callable[[], None]) -> None:
    """Run a stage's `main`; a `UserError` ends it with one line and exit status 1."""
    start_log(stage)
    try:
        main()
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(1)
