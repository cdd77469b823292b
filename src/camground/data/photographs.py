"""The one place that opens photographs: for the readers of data sets, the models and the report.

Pixels are as stored in the file, RGB; an EXIF rotation is not applied. A file that cannot be read as a
photograph is a `UserError` that names it, except in `inspect_all`, which tells the reader of a data set
what is wrong with each.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from camground.study.ahead import map_ahead
from camground.study.errors import UserError
from camground.study.progress import track

if TYPE_CHECKING:
    from torch import Tensor

# Photographs handed to the threads at a time; none of their pixels are kept.
AHEAD = 256


@contextmanager
def open_photograph(path: str | Path) -> Iterator[Image.Image]:
    """The photograph, opened but not decoded yet; `UserError` where it cannot be read in the block."""
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a photograph ({error})") from None


def read_photograph(path: str | Path) -> Image.Image:
    """The photograph in RGB; `UserError` for a file that cannot be read."""
    with open_photograph(path) as picture:
        return picture.convert("RGB")


def read_square(path: str | Path, size: int) -> Tensor:
    """The photograph as (3, size, size) uint8 RGB, each axis scaled on its own.

    Boxes as shares of width and height therefore hold at any size. Raises `UserError` for a file that
    cannot be read.
    """
    import torch

    rgb = read_photograph(path)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def read_reduced(path: str | Path, longest: int, size: tuple[int, int]) -> np.ndarray:
    """The photograph as (h, w, 3) uint8 RGB with its longest side at most `longest` pixels.

    size: width and height in the `images` table. Raises `UserError` for a file that cannot be read or has
    another size.
    """
    import cv2

    with open_photograph(path) as picture:
        if picture.size != tuple(size):
            now, before = ("x".join(map(str, sides)) for sides in (picture.size, size))
            raise UserError(f"{path}: is {now} pixels but {before} in the images table; rerun `data`")
        shrink = min(1.0, longest / max(size))
        reduced = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
        # A JPEG decoder can leave out what would be averaged away; other formats ignore this.
        picture.draft("RGB", (2 * reduced[0], 2 * reduced[1]))
        rgb = np.array(picture.convert("RGB"))
    # Not Pillow's box filter: it takes whole pixels, which shows when little is averaged.
    return rgb if shrink == 1 else cv2.resize(rgb, reduced, interpolation=cv2.INTER_AREA)


class PhotographFile(NamedTuple):
    """Width and height in pixels, or the problem for which the photograph cannot be used."""

    size: tuple[int, int] = (0, 0)
    problem: str = ""


def inspect(path: Path) -> PhotographFile:
    """Open and fully decode the photograph at `path`; its pixels are dropped at once."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return PhotographFile(picture.size)
    except UnidentifiedImageError:
        return PhotographFile(problem="unreadable: not an image that Pillow knows")
    except FileNotFoundError:
        return PhotographFile(problem="no such photograph")
    # Decoders raise OSError, SyntaxError, ValueError, struct.error and more for a damaged file.
    except Exception as error:
        return PhotographFile(problem=f"unreadable or truncated: {error or type(error).__name__}")


def inspect_all(paths: Sequence[Path]) -> list[PhotographFile]:
    """`inspect` of every path, in order, on all cores (Pillow decodes outside Python's lock)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    inspected = map_ahead(inspect, paths, AHEAD, cores)
    with warnings.catch_warnings():
        # Pillow warns of large photographs; only those it refuses to decode are a problem.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return list(track(inspected, "photographs", total=len(paths)))


def locate(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The path of each photograph of `names`, relative paths: in `folder`, else anywhere below it.

    Archives keep the same photographs in different folders, so a file name that is below `folder` once
    will do. One that is not there, or there several times, gets the path where it should be.
    """
    paths = {name: folder / name for name in names}
    missing = [name for name, path in paths.items() if not path.exists()]
    if missing:
        by_file_name: dict[str, list[Path]] = defaultdict(list)
        for path in folder.rglob("*"):
            by_file_name[path.name].append(path)
        for name in missing:
            candidates = by_file_name[PurePosixPath(name).name]
            if len(candidates) == 1:
                paths[name] = candidates[0]
    return paths
