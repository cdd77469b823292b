"""What is read of a file: pixels of every format as a viewer shows them, or why it is refused."""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from camground.data import photographs
from camground.data.photographs import TURNS, inspect, read_photograph, read_reduced, read_square
from camground.study.errors import UserError
from file_server import Server

# 8 x 8 blocks of six colours, 3 in a row: all differ, so that no turn or flip goes unseen.
COLOURS = np.array(
    [[(250, 20, 20), (20, 240, 20), (20, 20, 230)], [(240, 240, 20), (60, 60, 60), (200, 200, 200)]], np.uint8
)
RGB = COLOURS.repeat(8, 0).repeat(8, 1)
GREY = np.arange(256, dtype=np.uint8).reshape(8, 32)
WHITE_LEFT = RGB.copy()
WHITE_LEFT[:, :8] = 255
ALPHA = np.full(RGB.shape[:2], 255, np.uint8)
ALPHA[:, :8] = 0

Write = Callable[[Path], None]


def of(pixels: np.ndarray, mode: str | None = None, **options: Any) -> Write:
    """A file of these pixels, converted to `mode`."""

    def write(path: Path) -> None:
        picture = Image.fromarray(pixels)
        (picture.convert(mode) if mode else picture).save(path, **options)

    return write


def by_opencv(pixels: np.ndarray) -> Write:
    """Pillow writes no colours of 16 bits or floating point."""
    return lambda path: path.write_bytes(cv2.imencode(path.suffix, pixels[..., ::-1])[1].tobytes())


def raw(data: bytes) -> Write:
    return lambda path: path.write_bytes(data) and None


def frames(*colours: str, **options: Any) -> Write:
    """An animation, or a file of several pictures."""
    pictures = [Image.new("RGB", (24, 16), colour) for colour in colours]
    return lambda path: pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), RGB.shape)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def key_transparent(path: Path) -> None:
    """RGB without alpha, one colour of which is declared transparent."""
    Image.fromarray(RGB).save(path, transparency=tuple(int(value) for value in COLOURS[0, 0]))


def palette(path: Path, alpha: bool = True) -> None:
    picture = Image.fromarray(RGB).quantize(16)
    first = picture.getpixel((0, 0))
    picture.save(path, **({"transparency": first} if alpha else {}))


def palette_bytes(path: Path) -> None:
    """A palette with an alpha for each colour: half for the first."""
    picture = Image.fromarray(RGB).quantize(16)
    first = picture.getpixel((0, 0))
    picture.save(path, transparency=bytes(128 if index == first else 255 for index in range(16)))


def premultiplied(pixels: np.ndarray) -> Write:
    """TIFF whose colours are multiplied with alpha: where that is zero, they are black."""

    def write(path: Path) -> None:
        black = np.where(ALPHA[..., None], pixels.reshape(*ALPHA.shape, -1), 0)
        Image.fromarray(np.dstack([black, ALPHA])).save(path)
        entry = struct.pack("<HHI", 338, 3, 1)
        path.write_bytes(path.read_bytes().replace(entry + b"\x02", entry + b"\x01"))
        with Image.open(path) as picture:
            assert picture.tag_v2[338] == (1,)

    return write


def with_exif(data: bytes) -> Write:
    return of(RGB, exif=b"Exif\x00\x00" + data, quality=95, subsampling=0)


def oriented(value: int, pixels: np.ndarray = RGB, **options: Any) -> Write:
    exif = Image.Exif()
    exif[0x0112] = value
    return of(pixels, exif=exif.tobytes(), **options)


def big_endian_16(path: Path) -> None:
    Image.frombytes("I;16B", (32, 8), (GREY.astype(">u2") * 257).tobytes()).save(path)


def twelve_bits(path: Path) -> None:
    """A TIFF of one row: four grey values of 12 bits, packed."""
    values = [0, 1365, 2730, 4095]
    packed = bytes.fromhex("".join(f"{value:03x}" for value in values))
    tags = [(256, 3, 1, 4), (257, 3, 1, 1), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, len(packed))]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(packed))
    path.write_bytes(header + packed + struct.pack("<H", len(tags)) + entries + bytes(4))


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds next to none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def encoded(form: str, **options: Any) -> bytes:
    """A valid file of the coloured blocks."""
    stream = io.BytesIO()
    picture = Image.fromarray(RGB)
    if form == "gif":
        picture = picture.quantize(16)
    picture.save(stream, {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000"}.get(form, form), **options)
    return stream.getvalue()


SHADES = np.linspace(0, 1, 256, dtype=np.float32).reshape(8, 32)
HOLED = SHADES.copy()
HOLED[0, 0] = np.nan
HALF_WHITE = np.round(COLOURS[0, 0] * (128 / 255) + 127).astype(np.uint8)
HALVED = RGB.copy()
HALVED[:8, :8] = HALF_WHITE
KEYED = RGB.copy()
KEYED[:8, :8] = 255
GREY_KEYED = grey(GREY)
GREY_KEYED[GREY_KEYED == 7] = 255
# file name: what is written, the pixels that are read, and how far they may be off
SHOWN: dict[str, tuple[Write, np.ndarray, int]] = {
    "rgb.png": (of(RGB), RGB, 0),
    "rgb.bmp": (of(RGB), RGB, 0),
    "rgb.ppm": (of(RGB), RGB, 0),
    "rgb.jpg": (of(RGB, quality=95, subsampling=0), RGB, 12),
    "progressive.jpg": (of(RGB, quality=95, subsampling=0, progressive=True), RGB, 12),
    "named_png_but.png": (of(RGB, format="jpeg", quality=95, subsampling=0), RGB, 12),
    "lossless.webp": (of(RGB, lossless=True), RGB, 0),
    "reversible.jp2": (of(RGB), RGB, 0),
    "grey.png": (of(GREY), grey(GREY), 0),
    "grey.jpg": (of(GREY, quality=100), grey(GREY), 3),
    "bits.png": (of(GREY > 99), grey((GREY > 99) * 255), 0),
    "bits.pbm": (of(GREY > 99), grey((GREY > 99) * 255), 0),
    "bits.tif": (of(GREY > 99), grey((GREY > 99) * 255), 0),
    "palette.png": (lambda path: palette(path, alpha=False), RGB, 0),
    # alpha, however it is stored, lies on white
    "alpha.png": (of(np.dstack([RGB, ALPHA])), WHITE_LEFT, 0),
    "alpha.webp": (of(np.dstack([RGB, ALPHA]), lossless=True, exact=True), WHITE_LEFT, 0),
    "alpha.tif": (of(np.dstack([RGB, ALPHA])), WHITE_LEFT, 0),
    "alpha_16.png": (
        lambda path: cv2.imwrite(str(path), np.dstack([RGB[..., ::-1], ALPHA]).astype(np.uint16) * 257),
        WHITE_LEFT,
        0,
    ),
    "premultiplied.tif": (premultiplied(RGB), WHITE_LEFT, 0),
    "premultiplied_grey.tif": (premultiplied(RGB[..., 0]), grey(np.where(ALPHA, RGB[..., 0], 255)), 0),
    "grey_alpha.png": (of(np.dstack([RGB[..., 0], ALPHA])), grey(np.where(ALPHA, RGB[..., 0], 255)), 0),
    "palette_transparent.png": (palette, KEYED, 0),
    "palette_transparent.gif": (palette, KEYED, 0),
    "palette_alpha.png": (palette_bytes, HALVED, 1),
    "colour_transparent.png": (key_transparent, KEYED, 0),
    "grey_transparent.png": (of(GREY, transparency=7), GREY_KEYED, 0),
    # more than 8 bits
    "grey_16.png": (of(GREY.astype(np.uint16) * 257), grey(GREY), 0),
    "grey_16_dark.png": (of(GREY.astype(np.uint16)), grey(np.round(GREY / 257)), 0),
    "grey_16_transparent.png": (of(GREY.astype(np.uint16) * 257, transparency=7 * 257), GREY_KEYED, 0),
    "grey_16.tif": (of(GREY.astype(np.uint16) * 257), grey(GREY), 0),
    "grey_16_white_is_zero.tif": (of(GREY.astype(np.uint16) * 257, tiffinfo={262: 0}), grey(255 - GREY), 0),
    "grey_16_big_endian.tif": (big_endian_16, grey(GREY), 0),
    "grey_16.pgm": (raw(b"P5 32 8 65535\n" + (GREY.astype(">u2") * 257).tobytes()), grey(GREY), 0),
    "grey_10.pgm": (
        raw(b"P5 4 1 1023\n" + np.array([0, 341, 682, 1023], ">u2").tobytes()),
        grey(np.array([[0, 85, 170, 255]])),
        0,
    ),
    "grey_16.jp2": (of(GREY.astype(np.uint16) * 257), grey(GREY), 0),
    "grey_12.tif": (twelve_bits, grey(np.array([[0, 85, 170, 255]])), 0),
    "rgb_16.png": (by_opencv(RGB.astype(np.uint16) * 257), RGB, 0),
    "rgb_16.tif": (by_opencv(RGB.astype(np.uint16) * 257), RGB, 0),
    "float_to_1.tif": (of(SHADES), grey(GREY), 0),
    "float_to_255.tif": (of(SHADES * 255), grey(GREY), 0),
    "integers_32.tif": (of(GREY.astype(np.int32)), grey(GREY), 0),
    # other colours
    "cmyk.jpg": (of(RGB, "CMYK", quality=95, subsampling=0), RGB, 16),
    "cmyk.tif": (of(RGB, "CMYK"), RGB, 0),
    "ycbcr.jpg": (of(RGB, "YCbCr", quality=95, subsampling=0), RGB, 12),
    "ycbcr.tif": (of(RGB, "YCbCr", compression="raw"), RGB, 3),
    "lab.tif": (of(RGB, "LAB"), RGB, 12),
    # the first of several pictures
    "animated.gif": (frames("red", "lime", "blue", duration=50), plain((255, 0, 0)), 0),
    "animated.webp": (frames("red", "lime", lossless=True), plain((255, 0, 0)), 0),
    "animated.png": (frames("red", "lime"), plain((255, 0, 0)), 0),
    "pages.tif": (frames("red", "lime"), plain((255, 0, 0)), 0),
    "two.mpo": (frames("red", "lime"), plain((255, 0, 0)), 3),
    # as it is seen, whatever its EXIF holds
    "exif_cut.jpg": (with_exif(b"II*\x00\x08\x00\x00\x00\x09\x00"), RGB, 12),
    "exif_noise.jpg": (with_exif(bytes(range(200))), RGB, 12),
    "exif_empty.jpg": (with_exif(b""), RGB, 12),
    "orientation_0.png": (oriented(0), RGB, 0),
    "orientation_9.png": (oriented(9), RGB, 0),
    # shapes
    "one_pixel.png": (of(RGB[:1, :1]), RGB[:1, :1], 0),
    "one_row.png": (of(RGB[:1]), RGB[:1], 0),
    "one_column.jpg": (of(RGB[:, :1], quality=95, subsampling=0), RGB[:, :1], 12),
    "long.png": (of(RGB[:1].repeat(100, 1)), RGB[:1].repeat(100, 1), 0),
    "grüße {0} 写真.png": (of(RGB), RGB, 0),
}
REFUSED: dict[str, tuple[Write, str]] = {
    "absent.png": (lambda path: None, "no such photograph"),
    "folder.png": (lambda path: path.mkdir(), "unreadable or truncated: Is a directory"),
    "empty.jpg": (raw(b""), "not an image that Pillow knows"),
    "zeros.png": (raw(bytes(500)), "not an image that Pillow knows"),
    "text.png": (raw(b"Dear Sir or Madam,\n"), "not an image that Pillow knows"),
    "page.jpg": (raw(b"<!DOCTYPE html><title>404 Not Found</title>"), "not an image that Pillow knows"),
    "drawing.svg": (raw(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not an image that Pillow knows"),
    "header_only.png": (raw(png_header(8, 8)[:20]), "unreadable"),
    "half.jpg": (raw(encoded("jpg")[:-300]), "truncated"),
    "half.png": (raw(encoded("png")[:70]), "truncated"),
    "half.gif": (raw(encoded("gif")[:-60]), "truncated"),
    "half.webp": (raw(encoded("webp", lossless=True)[:-30]), "unreadable"),
    "half.tif": (raw(encoded("tif")[:-400]), "unreadable"),
    "too_few_rows.png": (raw(png_header(64, 64)), "truncated"),
    "bomb.png": (raw(png_header(60_000, 60_000)), "more than 179 million pixels; make it smaller"),
    "no_pixels.png": (raw(png_header(0, 5)), "unreadable"),
    "nan.tif": (of(HOLED), "some of its pixels are not numbers"),
    "infinite.tif": (of(np.where(np.isnan(HOLED), np.inf, HOLED)), "some of its pixels are not numbers"),
    "negative.tif": (of(SHADES - 0.5), "from -0.5 to 0.5, not 0 to 1 or 0 to 255; save it with 8 bits"),
    "metres.tif": (of(SHADES * 4000), "from 0 to 4000, not 0 to 1 or 0 to 255"),
    "bright.tif": (of(SHADES * 4), "from 0 to 4, not 0 to 1 or 0 to 255"),
    "classes.tif": (of(GREY.astype(np.int32) % 3), "from 0 to 2, not 0 to 255"),
    "rgb_float.tif": (by_opencv(RGB.astype(np.float32)), "not an image that Pillow knows"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", SHOWN)
def test_every_format_is_read_as_a_viewer_shows_it(name: str, tmp_path: Path) -> None:
    write, expected, most = SHOWN[name]
    path = tmp_path / name
    write(path)
    read = np.asarray(read_photograph(path))
    assert read.shape == expected.shape
    off = np.abs(read.astype(int) - expected)
    if most:
        # a lossy format runs over the edges of the blocks
        assert np.quantile(off, 0.9) <= most
    else:
        assert off.max() == 0
    size = (expected.shape[1], expected.shape[0])
    assert inspect(path) == (size, "")
    # the other ways to read it see the same
    assert np.array_equal(read_reduced(path, max(size), size), read)
    assert read_reduced(path, 5, size).shape == tuple(
        max(1, round(side * min(1, 5 / max(size)))) for side in size[::-1]
    ) + (3,)
    square = Image.fromarray(read).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(read_square(path, 32).permute(1, 2, 0).numpy(), np.asarray(square))


def test_a_photograph_in_memory_is_read_as_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    expected = np.asarray(read_photograph(tmp_path / "a.jpg"))
    opened = Image.open(tmp_path / "a.jpg")
    size = (expected.shape[1], expected.shape[0])
    for source in ((tmp_path / "a.jpg").read_bytes(), opened):
        assert np.array_equal(np.asarray(read_photograph(source)), expected)
        assert np.array_equal(read_reduced(source, max(size), size), expected)
        assert read_square(source, 9).shape == (3, 9, 9)
    assert opened.size == size[::-1]  # the caller's own is left as it was
    with pytest.raises(UserError, match=r"^the photograph given: unreadable"):
        read_photograph(b"no photograph")


def test_a_photograph_at_an_address_is_downloaded_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    address = server.add("/a.png", content=b"x" * 100_000)
    moved = server.add("/moved.png", location="/a.png")
    assert photographs.is_address(address)
    assert not any(
        photographs.is_address(each) for each in ("a.png", Path(address), "ftp://a/b", b"http://a")
    )
    assert photographs.download(address) == photographs.download(moved) == b"x" * 100_000
    refused = {
        server.address("/none.png"): "cannot be downloaded (Not Found)",
        server.add("/odd.png", location="file:///etc/hostname"): "cannot be downloaded (",
        server.add("/torn.png", content=b"x" * 999, breaks=[10]): "broke off after 10 bytes; try again",
        "http://": "cannot be downloaded (",
    }
    for bad, reason in refused.items():
        with pytest.raises(UserError) as error:
            photographs.download(bad)
        assert str(error.value).startswith(f"{bad}: {reason}")
    monkeypatch.setattr(photographs, "LARGEST", 1 << 16)
    with pytest.raises(UserError, match="more than 0 MiB; give a smaller photograph"):
        photographs.download(address)
    monkeypatch.setattr(photographs, "LARGEST", 1 << 20)
    monkeypatch.setattr(photographs, "LONGEST", 0.0)
    with pytest.raises(UserError, match="not here after 0 s; download it first"):
        photographs.download(address)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_shown_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    write, reason = REFUSED[name]
    path = tmp_path / name
    write(path)
    problem = inspect(path).problem
    assert reason in problem
    assert "\n" not in problem
    assert inspect(path).size == (0, 0)
    for read, *arguments in ((read_photograph,), (read_square, 32), (read_reduced, 9, (9, 9))):
        with pytest.raises(UserError) as refused:
            read(path, *arguments)
        assert str(refused.value) == f"{path}: {problem}"


# As the EXIF standard says where row 0 and column 0 of what is stored lie in what is seen.
STORED = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: seen.swapaxes(0, 1)[::-1],
    7: lambda seen: seen.swapaxes(0, 1)[::-1, ::-1],
    8: lambda seen: seen.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp", "mpo"])
def test_a_photograph_is_upright_in_every_format(orientation: int, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"phone.{ending}"
    stored = np.ascontiguousarray(STORED[orientation](RGB))
    lossless, exact = {"lossless": True}, {"quality": 95, "subsampling": 0}
    options = {"webp": lossless, "jpg": exact, "mpo": exact}.get(ending, {})
    oriented(orientation, stored, **options)(path)
    read = np.asarray(read_photograph(path))
    assert read.shape == RGB.shape
    off = np.abs(read.astype(int) - RGB)
    assert np.quantile(off, 0.9) <= 12 if ending in ("jpg", "mpo") else off.max() == 0
    assert inspect(path).size == (24, 16)
    assert np.array_equal(read_reduced(path, 24, (24, 16)), read)
    with pytest.raises(UserError, match="is 24x16 pixels but 16x24"):
        read_reduced(path, 24, (16, 24))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_reduced_upright(orientation: int, tmp_path: Path) -> None:
    """The decoder leaves pixels out before the photograph is turned."""
    seen = COLOURS.repeat(400, 0).repeat(400, 1)
    oriented(orientation, np.ascontiguousarray(STORED[orientation](seen)))(tmp_path / "a.jpg")
    reduced = read_reduced(tmp_path / "a.jpg", 24, (1200, 800))
    assert reduced.shape == (16, 24, 3)
    middles = reduced[4::8, 4::8].astype(int)
    assert np.abs(middles - COLOURS).max() < 12
    assert set(TURNS) == set(STORED) - {1}


def test_warnings_of_large_or_odd_files_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    importlib.reload(photographs)  # pytest keeps its own filters
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    of(RGB)(tmp_path / "a.png")
    photographs.read_photograph(tmp_path / "a.png")
    assert not recwarn.list


WHOLE = [
    *(encoded(form) for form in ("png", "jpg", "gif", "tif", "bmp", "ppm", "jp2", "ico", "tga")),
    encoded("webp", lossless=True),
    encoded("tif", compression="tiff_lzw"),
    encoded(
        "jpg", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00"
    ),
    png_header(24, 16),
]
EDIT = st.tuples(
    st.integers(0, 4000), st.sampled_from(["set", "cut", "drop", "insert"]), st.binary(max_size=6)
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file after a few edits; or noise, half of it behind the first bytes of a format."""
    whole = draw(st.sampled_from(WHOLE))
    if draw(st.integers(0, 9)) == 0:
        return whole[: draw(st.integers(0, 12))] + draw(st.binary(max_size=60))
    data = bytearray(whole)
    for at, kind, piece in draw(st.lists(EDIT, max_size=5)):
        at %= len(data) + 1
        if kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + len(piece)]
        elif kind == "insert":
            data[at:at] = piece
        else:
            data[at : at + len(piece)] = piece
    return bytes(data)


@settings(max_examples=400, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(data=damaged())
def test_any_bytes_are_a_photograph_or_a_user_error(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 damaged files of 13 kinds, small enough that none takes long."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)
    path = tmp_path / "photograph"
    path.write_bytes(data)
    found = inspect(path)
    if found.problem:
        with pytest.raises(UserError, match=rf"^{path}: .+\Z"):
            read_photograph(path)
    else:
        photograph = read_photograph(path)
        assert photograph.mode == "RGB"
        assert photograph.size == found.size
        assert 0 not in found.size
