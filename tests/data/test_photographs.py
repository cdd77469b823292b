"""The one place that opens photographs: what is stored in the file becomes what a viewer shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from camground.data.photographs import inspect, photograph_size, read_photograph, read_reduced, read_square

# How a camera stores an upright picture under each orientation of EXIF.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
WIDTH, HEIGHT = 96, 160


def upright() -> Image.Image:
    """Grey with a red square at the top left."""
    picture = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    picture[:32, :32] = 220, 30, 30
    return Image.fromarray(picture)


@pytest.mark.parametrize("form", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_turned_upright(orientation: int, form: str, tmp_path: Path) -> None:
    path, exif = tmp_path / f"a.{form}", Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turn = STORED[orientation]
    (upright() if turn is None else upright().transpose(turn)).save(path, exif=exif, quality=95)
    assert photograph_size(path) == inspect(path).size == (WIDTH, HEIGHT)
    expected = np.asarray(upright()).astype(int)
    assert np.abs(np.asarray(read_photograph(path)) - expected).mean() < 2
    square = read_square(path, 32).permute(1, 2, 0).numpy()
    assert square[2, 2, 0] > 180 > square[2, 2, 1] + 100
    assert square[29, 29].tolist() == pytest.approx([110, 110, 110], abs=3)
    for longest in (HEIGHT, 80, 20):
        reduced = read_reduced(path, longest, (WIDTH, HEIGHT))
        assert reduced.shape == (longest, longest * WIDTH // HEIGHT, 3)
        assert reduced[0, 0, 0] > 180 > reduced[0, 0, 1] + 100


def test_damaged_exif_leaves_the_photograph_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    upright().save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert inspect(path).size == photograph_size(path) == (WIDTH, HEIGHT)
    assert read_photograph(path).size == (WIDTH, HEIGHT)


def test_sixteen_bits_and_floats_are_scaled(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64), (32, 1)).astype(np.uint8)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray((ramp / 255).astype(np.float32)).save(tmp_path / "float.tif")
    for name in ("deep.png", "float.tif"):
        seen = np.asarray(read_photograph(tmp_path / name)).astype(int)
        assert np.abs(seen - ramp[..., None]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str, tmp_path: Path) -> None:
    logo = np.zeros((20, 30, 4), np.uint8)
    logo[5:10, 5:10, 3] = 255
    Image.fromarray(logo).convert(mode).save(
        tmp_path / "logo.png", **({"transparency": 0} if mode == "P" else {})
    )
    seen = np.asarray(read_photograph(tmp_path / "logo.png"))
    assert (seen[0, 0] == 255).all()
    if mode != "P":
        assert (seen[7, 7] == 0).all()
