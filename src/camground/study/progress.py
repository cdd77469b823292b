"""Progress and log lines: a bar on a terminal, plain lines with the time left in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
log = logging.getLogger("camground")


def start_log(stage: str) -> logging.Logger:
    """Send log lines of this process to standard error, each with the stage's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s [{stage}] %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    return log


def track(
    items: Iterable[Item], description: str, total: int | None = None, lines_every: float = 10.0
) -> Iterator[Item]:
    """Yield `items`; show a bar on a terminal, else a line with the time left every so many seconds."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, description, total=total, console=Console(stderr=True))
        return
    start = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - last >= lines_every and count != total:
            last = now
            if total:
                left = (now - start) / count * (total - count)
                log.info("%s: %d/%d, about %.0f s left", description, count, total, left)
            else:
                log.info("%s: %d", description, count)
    log.info("%s: %d done in %.1f s", description, count, time.monotonic() - start)
