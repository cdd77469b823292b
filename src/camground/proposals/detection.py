"""Proposals of many photographs by a detector, in order, in memory that does not grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from camground.proposals.detectors import Detector, Seen
from camground.proposals.settings import Settings
from camground.proposals.thinning import Proposals, propose_found
from camground.proposals.workers import Picture

AHEAD = 2  # windows of photographs that are read while the model works on one
WINDOW = 2  # batches that photographs of one shape are gathered from


def propose_all(
    pictures: Iterable[Picture], detector: Detector, settings: Settings, threads: int
) -> Iterator[Proposals]:
    """For each photograph, in order, its proposals; `UserError` for one that cannot be used.

    A batch holds photographs that the image processor makes of one shape, so that none is padded: what
    is found in a photograph does not hang on which ones are beside it.
    """
    remaining = iter(pictures)
    with ThreadPoolExecutor(max(1, min(threads, 8))) as pool:

        def window() -> list[Future[Seen]]:
            batch = islice(remaining, WINDOW * detector.settings.batch_size)
            return [pool.submit(detector.see, one.path, one.size) for one in batch]

        try:
            waiting = deque(window() for _ in range(AHEAD))
            while waiting:
                seen = [future.result() for future in waiting.popleft()]
                waiting.extend(filter(None, [window()]))
                yield from _propose(seen, detector, settings)
        finally:
            pool.shutdown(cancel_futures=True)


def propose_one(picture: Picture, detector: Detector, settings: Settings) -> Proposals:
    """Proposals of one photograph."""
    return _propose([detector.see(picture.path, picture.size)], detector, settings)[0]


def _propose(seen: list[Seen], detector: Detector, settings: Settings) -> list[Proposals]:
    of_shape: dict[object, list[int]] = {}
    for place, one in enumerate(seen):
        of_shape.setdefault(one.shape, []).append(place)
    made: dict[int, Proposals] = {}
    size = detector.settings.batch_size
    for places in of_shape.values():
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            found = detector.detect([seen[place] for place in batch])
            for place, (boxes, scores) in zip(batch, found, strict=True):
                made[place] = propose_found(
                    boxes, scores, detector.source, settings, seen[place].size
                )
    return [made[place] for place in range(len(seen))]
