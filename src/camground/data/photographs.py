"""The one place that opens photographs: for the readers of data sets, the models and the report.

A photograph is what a viewer shows on a white page: 8-bit RGB, turned upright as its EXIF says, its
transparent parts white, of an animation the first picture. Sizes and boxes are in pixels of the upright
photograph. Grey of 16 bits is scaled from its whole range, grey of floating point from 0 to 1 or 0 to 255.
Pixels of an unknown range are refused, as is a file that is no photograph: by a `UserError` that names it,
except in `inspect_all`, which tells the reader of a data set what is wrong with each.
"""

from __future__ import annotations

import http.client
import io
import os
import time
import urllib.error
import urllib.request
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag

from camground.study.ahead import map_ahead
from camground.study.errors import UserError
from camground.study.progress import track

if TYPE_CHECKING:
    from torch import Tensor

# What a photograph is read from: a file, its bytes, or a picture in memory.
Source: TypeAlias = "str | Path | bytes | Image.Image"

# Photographs handed to the threads at a time; none of their pixels are kept.
AHEAD = 256
# What turns a photograph upright, by the orientation in its EXIF.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The orientations that swap width and height.
ON_ITS_SIDE = (5, 6, 7, 8)
# Pixels that reach no higher are of another range than 0 to 255: they would be next to black.
DARKEST = 16
# Of a photograph at an address: its bytes at most, seconds until the next of them, seconds in all.
LARGEST, SILENCE, LONGEST = 64 * 2**20, 20.0, 120.0

# Large photographs and odd metadata; what Pillow cannot decode is an error, not a warning. Set once, as
# photographs are read in threads, where a filter that comes and goes is not safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def _open(source: Source) -> Iterator[Image.Image]:
    """The photograph, a file's not decoded yet; `UserError` where it cannot be read in the block."""
    try:
        if isinstance(source, Image.Image):
            source.load()  # whole, so that nothing shrinks the caller's own while it is decoded
            yield source
            return
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            yield picture
    # Decoders raise OSError, SyntaxError, ValueError, struct.error and more for a damaged file.
    except Exception as error:
        raise UserError(f"{name_of(source)}: {_reason(error)}") from None


def name_of(source: Source) -> str:
    """What errors call a photograph."""
    return str(source) if isinstance(source, str | Path) else "the photograph given"


def _reason(error: Exception) -> str:
    """Why a photograph cannot be read, in one line."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "unreadable: not an image that Pillow knows"
    if isinstance(error, FileNotFoundError):
        return "no such photograph"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels; make it smaller"
    said = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
    return f"unreadable or truncated: {said or type(error).__name__}"


def _orientation(picture: Image.Image) -> int:
    """By the EXIF of a photograph; 1: upright. To be asked once it is decoded, which turns a TIFF."""
    # damaged EXIF raises all kinds of errors; viewers show the pixels as they are
    with suppress(Exception):
        orientation = picture.getexif().get(ExifTag.Orientation)
        if orientation in TURNS:
            return int(orientation)
    return 1


def _to_rgb(picture: Image.Image) -> Image.Image:
    """A photograph of any mode in RGB, as large; `UserError` for pixels whose range is not known."""
    if 0 in picture.size:
        raise UserError("it has no pixels")
    if picture.mode.startswith(("I", "F")):
        return _scale_grey(picture).convert("RGB")
    if picture.has_transparency_data:
        # from premultiplied grey there is one way alone
        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        page = Image.new("RGBA", rgba.size, "white")
        page.alpha_composite(rgba)
        return page.convert("RGB")
    return picture.convert("RGB")


def _scale_grey(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or of floating point as 8 bits; `UserError` for an unknown range of values."""
    values = np.asarray(picture, dtype=np.float32)
    tags = getattr(picture, "tag_v2", {})
    low, high = float(values.min()), float(values.max())
    if picture.mode.startswith("I;16") or picture.format in ("PNG", "PPM"):
        # what is of 12 bits in a TIFF is so in memory
        top = 2.0 ** tags.get(ExifTag.BitsPerSample, (16,))[0] - 1
    elif not np.isfinite(values).all():
        raise UserError("some of its pixels are not numbers; mend them, or save it with 8 bits")
    elif picture.mode == "F" and low >= 0 and high <= 1:
        top = 1.0
    elif low >= 0 and DARKEST <= high <= 255:
        top = 255.0
    else:
        ranges = "0 to 1 or 0 to 255" if picture.mode == "F" else "0 to 255"
        raise UserError(f"its pixels are from {low:g} to {high:g}, not {ranges}; save it with 8 bits")
    grey = values / top
    if tags.get(ExifTag.PhotometricInterpretation) == 0:  # white is zero
        grey = 1 - grey
    if (transparent := picture.info.get("transparency")) is not None:
        grey[values == transparent] = 1
    return Image.fromarray(np.round(grey * 255).astype(np.uint8))


def _read_upright(picture: Image.Image) -> tuple[Image.Image, bool]:
    """An opened photograph in RGB, upright, and whether it lay on its side."""
    picture.load()
    orientation = _orientation(picture)
    rgb = _to_rgb(picture)
    upright = rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb
    return upright, orientation in ON_ITS_SIDE


def read_photograph(source: Source) -> Image.Image:
    """The photograph in RGB, upright; `UserError` for one that cannot be read."""
    with _open(source) as picture:
        return _read_upright(picture)[0]


def is_address(source: object) -> bool:
    """Whether a text is an address of the web; a `Path` never is."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def download(address: str) -> bytes:
    """The file at an address; `UserError` where it cannot be had, takes too long or is too large."""
    opener = urllib.request.OpenerDirector()  # with no handler that opens a file, wherever it is sent on to
    for handler in (
        *(urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler),
        *(urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler),
        *(urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler),
    ):
        opener.add_handler(handler())
    content, ends = bytearray(), time.monotonic() + LONGEST
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "camground"})
        with opener.open(request, timeout=SILENCE) as answer:
            while piece := answer.read1(1 << 16):
                content += piece
                if len(content) > LARGEST:
                    raise UserError(f"{address}: more than {LARGEST >> 20} MiB; give a smaller photograph")
                if time.monotonic() > ends:
                    raise UserError(f"{address}: not here after {LONGEST:.0f} s; download it first")
            if answer.length:
                raise UserError(f"{address}: broke off after {len(content)} bytes; try again")
    # the web's errors are OSErrors; http.client and addresses that are none raise others
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(
            f"{address}: cannot be downloaded ({getattr(error, 'reason', '') or error})"
        ) from None
    return bytes(content)


def read_square(source: Source, size: int) -> Tensor:
    """The photograph as (3, size, size) uint8 RGB, upright, each axis scaled on its own.

    Boxes as shares of width and height therefore hold at any size. Raises `UserError` for one that cannot be
    read.
    """
    return to_square(read_photograph(source), size)


def to_square(rgb: Image.Image, size: int) -> Tensor:
    """`read_square` of what `read_photograph` gives."""
    import torch

    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def read_reduced(source: Source, longest: int, size: tuple[int, int]) -> np.ndarray:
    """The photograph as (h, w, 3) uint8 RGB, upright, with its longest side at most `longest` pixels.

    size: width and height in the `images` table. Raises `UserError` for one that cannot be read or has
    another size.
    """
    import cv2

    shrink = min(1.0, longest / max(size))
    reduced = (max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink)))
    with _open(source) as picture:
        stored = picture.size
        # A JPEG decoder can leave out what would be averaged away; other formats ignore this.
        least = [2 * max(1, round(side * shrink)) for side in stored]
        picture.draft("RGB", (least[0], least[1]))
        upright, on_its_side = _read_upright(picture)
    whole = stored[::-1] if on_its_side else stored
    if whole != tuple(size):
        now, before = ("x".join(map(str, sides)) for sides in (whole, size))
        raise UserError(f"{name_of(source)}: is {now} pixels but {before} in the images table; rerun `data`")
    rgb = np.array(upright)
    # Not Pillow's box filter: it takes whole pixels, which shows when little is averaged.
    return rgb if shrink == 1 else cv2.resize(rgb, reduced, interpolation=cv2.INTER_AREA)


class PhotographFile(NamedTuple):
    """Width and height in pixels, upright, or the problem for which the photograph cannot be used."""

    size: tuple[int, int] = (0, 0)
    problem: str = ""


def inspect(path: Path) -> PhotographFile:
    """Read the photograph at `path` as every stage does; its pixels are dropped at once."""
    try:
        return PhotographFile(read_photograph(path).size)
    except UserError as error:
        return PhotographFile(problem=str(error).removeprefix(f"{path}: "))


def inspect_all(paths: Sequence[Path]) -> list[PhotographFile]:
    """`inspect` of every path, in order, on all cores (Pillow decodes outside Python's lock)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return list(track(map_ahead(inspect, paths, AHEAD, cores), "photographs", total=len(paths)))


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
