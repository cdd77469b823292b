"""Where a result comes from: the commit of the code, digests of files and of configs."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def git_sha(folder: Path | None = None) -> str:
    """The commit that the code is at, `-dirty` when files differ from it; "unknown" outside git."""
    folder = folder or Path(__file__).parent
    try:
        sha = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{sha}-dirty" if changed else sha


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def file_digest(path: str | Path) -> str:
    """The first 16 hex digits of a file's SHA-256."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def config_digest(config: Mapping[str, Any]) -> str:
    """12 hex digits that depend on the keys and values of `config`, not on their order."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
