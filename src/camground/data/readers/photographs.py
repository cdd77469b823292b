"""Opening photographs: each decoded once, on all cores, to know its size and that it is whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from camground.study.progress import track

# Photographs in the hands of the pool at a time; none of their pixels are kept.
CHUNK = 256


@dataclass(frozen=True)
class Photograph:
    """Size in pixels as stored (an EXIF rotation is not applied), or why it cannot be used."""

    width: int = 0
    height: int = 0
    problem: str = ""


def inspect(path: Path) -> Photograph:
    """Open and fully decode the photograph at `path`; its pixels are dropped at once."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return Photograph(*picture.size)
    except Image.UnidentifiedImageError:
        return Photograph(problem="unreadable: not an image that Pillow knows")
    except FileNotFoundError:
        return Photograph(problem="no such photograph")
    # Decoders raise OSError, SyntaxError, ValueError, struct.error and more for a damaged file.
    except Exception as error:
        return Photograph(problem=f"unreadable or truncated: {error or type(error).__name__}")


def locate(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where each photograph of `names`, relative paths, lies: there in `folder`, else anywhere below it.

    Archives keep the same photographs in different folders; a file name that is below `folder` once
    is found. One that is not, or several times, gets the path where it should be.
    """
    found = {name: folder / name for name in names}
    lost = [name for name, path in found.items() if not path.exists()]
    if lost:
        below: dict[str, list[Path]] = {}
        for path in folder.rglob("*"):
            below.setdefault(path.name, []).append(path)
        for name in lost:
            places = below.get(PurePosixPath(name).name, [])
            if len(places) == 1:
                found[name] = places[0]
    return found


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def inspect_all(paths: Sequence[Path]) -> Iterator[Photograph]:
    """`inspect` of every path, in order, on all cores (Pillow decodes outside Python's lock)."""

    def results() -> Iterator[Photograph]:
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(paths), CHUNK):
                yield from pool.map(inspect, paths[start : start + CHUNK])

    with warnings.catch_warnings():
        # Pillow warns of large photographs; only those it refuses to decode are a problem.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield from track(results(), "photographs", total=len(paths))
