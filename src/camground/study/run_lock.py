"""Whether another Snakemake runs in this folder: its own lock outlives the process that took it."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path


def hold_run_lock(folder: Path) -> None:
    """Clear the locks in the `.snakemake` folder that no living Snakemake holds, and count this process among
    the living until it ends.

    Each holds a shared lock of the kernel, which ends with the process, whatever ends it; who can have it
    alone is the only one. Where the file system has no such locks, Snakemake's stay, with their advice.
    """
    folder.mkdir(exist_ok=True)
    handle = os.open(folder / "alive", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # another one runs, or there are no locks
    else:
        shutil.rmtree(folder / "locks", ignore_errors=True)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:
        os.close(handle)
