"""Proposals of many images on several processes, in order, in memory that does not grow."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import cv2

from camground.data.photographs import read_reduced
from camground.proposals.selective_search import propose
from camground.proposals.settings import Settings
from camground.proposals.thinning import Proposals

IN_FLIGHT = 4  # batches per process that wait or are ready
BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Picture:
    """A photograph's file and its width and height in pixels."""

    path: Path
    size: tuple[int, int]


def propose_all(
    batches: Iterable[list[Picture]], settings: Settings, processes: int
) -> Iterator[list[Proposals]]:
    """For each batch, in order, the proposals of its pictures; `UserError` for an unreadable one."""
    remaining = iter(batches)
    with _one_thread_each():
        pool = ProcessPoolExecutor(processes, get_context("spawn"), cv2.setNumThreads, (1,))
        try:
            waiting: deque[Future[list[Proposals]]] = deque()
            for batch in islice(remaining, IN_FLIGHT * processes):
                waiting.append(pool.submit(_propose_batch, batch, settings))
            while waiting:
                done = waiting.popleft().result()
                for batch in islice(remaining, 1):
                    waiting.append(pool.submit(_propose_batch, batch, settings))
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """New processes get one BLAS thread: they share the cores, and sums come out the same with any
    number of processes."""
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _propose_batch(batch: list[Picture], settings: Settings) -> list[Proposals]:
    return [
        propose(read_reduced(one.path, settings.input_size, one.size), settings, one.size)
        for one in batch
    ]
