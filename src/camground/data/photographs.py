"""The one place that opens photographs: for the readers of data sets, the models and the report.

Every photograph is seen as a viewer shows it: turned upright as its EXIF says, 16 bits scaled to 8, what is
transparent laid on white. Sizes and boxes are of the upright photograph. A file that cannot be read as a
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
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from camground.study.ahead import map_ahead
from camground.study.errors import UserError
from camground.study.progress import track

if TYPE_CHECKING:
    from torch import Tensor

# Photographs handed to the threads at a time; none of their pixels are kept.
AHEAD = 256
# Orientations of EXIF that swap width and height.
QUARTER_TURNS = (5, 6, 7, 8)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The picture, opened but not decoded yet; `UserError` where it cannot be read in the block."""
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a photograph ({error})") from None


def _size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of the picture once it is upright."""
    # Pillow gives the upright size of a TIFF itself.
    turned = picture.format != "TIFF" and picture.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS
    return picture.size[::-1] if turned else picture.size


def _upright(picture: Image.Image) -> Image.Image:
    """The picture in RGB as a viewer shows it."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) // 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":  # from 0 to 1, as programs write them
        return Image.fromarray((np.asarray(picture).clip(0, 1) * 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture).convert("RGB")
    return picture.convert("RGB")


def photograph_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of the upright photograph; `UserError` for a file that cannot be read."""
    with _opened(path) as picture:
        return _size(picture)


def read_photograph(path: str | Path) -> Image.Image:
    """The upright photograph in RGB; `UserError` for a file that cannot be read."""
    with _opened(path) as picture:
        return _upright(picture)


def read_square(path: str | Path, size: int) -> Tensor:
    """The upright photograph as (3, size, size) uint8 RGB, each axis scaled on its own.

    Boxes as shares of width and height therefore hold at any size. Raises `UserError` for a file that
    cannot be read.
    """
    import torch

    rgb = read_photograph(path)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def read_reduced(path: str | Path, longest: int, size: tuple[int, int]) -> np.ndarray:
    """The upright photograph as (h, w, 3) uint8 RGB with its longest side at most `longest` pixels.

    size: width and height in the `images` table. Raises `UserError` for a file that cannot be read or has
    another size.
    """
    import cv2

    with _opened(path) as picture:
        now_size = _size(picture)
        if now_size != tuple(size):
            now, before = ("x".join(map(str, sides)) for sides in (now_size, size))
            raise UserError(f"{path}: is {now} pixels but {before} in the images table; rerun `data`")
        shrink = min(1.0, longest / max(size))
        reduced = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
        # A JPEG decoder can leave out what would be averaged away; other formats ignore this.
        wanted = reduced if picture.size == now_size else reduced[::-1]
        picture.draft("RGB", (2 * wanted[0], 2 * wanted[1]))
        rgb = np.array(_upright(picture))
    # Not Pillow's box filter: it takes whole pixels, which shows when little is averaged.
    return rgb if shrink == 1 else cv2.resize(rgb, reduced, interpolation=cv2.INTER_AREA)


class PhotographFile(NamedTuple):
    """Width and height in pixels of the upright photograph, or the problem for which it cannot be used."""

    size: tuple[int, int] = (0, 0)
    problem: str = ""


def inspect(path: Path) -> PhotographFile:
    """Open and fully decode the photograph at `path`; its pixels are dropped at once."""
    try:
        with Image.open(path) as picture:
            size = _size(picture)
            picture.load()
            return PhotographFile(size)
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
