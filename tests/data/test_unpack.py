"""Archives that climb out, link, swell or are torn: refused, and nothing of them stays."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from camground.data.download.unpack import Limits, unpack
from camground.study.errors import UserError


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"x"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return path


def make_zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def zip_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


GOOD = ("set/proof", b"p")
GOOD_TAR = tar_member("set/proof", content=b"p")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expect_refused(archive: Path, message: str, limits: Limits | None = None) -> None:
    """`UserError`, and the place as it was: the archive alone."""
    place = archive.parent / "place"
    place.mkdir()
    with pytest.raises(UserError, match=message):
        unpack(archive, place / "deep" / "folder", "proof", "set", limits=limits)
    assert [path for path in place.rglob("*") if path.name != "deep"] == []
    assert sorted(path.name for path in archive.parent.iterdir()) == [archive.name, "place"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "zip"])
def test_a_good_archive_is_unpacked_without_its_top(mode: str, tmp_path: Path) -> None:
    if mode == "zip":
        litter = [("__MACOSX/._proof", b"?"), ("set/.DS_Store", b"?")]
        members = [("set/", b""), GOOD, ("set/in/a.jpg", b"a"), *litter]
        archive = make_zip(tmp_path / "a.zip", *members)
    else:
        members = [tar_member("./set", tarfile.DIRTYPE), GOOD_TAR, tar_member("./set/in/a.jpg")]
        archive = make_tar(tmp_path / "a.tar", *members, mode=mode)
    unpack(archive, tmp_path / "out/folder", "proof", "set")
    unpacked = files(tmp_path / "out")
    assert set(unpacked) == {"folder/proof", "folder/in/a.jpg"}
    assert unpacked["folder/proof"] == b"p"
    modes = {path.stat().st_mode & 0o7777 for path in (tmp_path / "out").rglob("*.jpg")}
    assert not any(mode & (stat.S_ISUID | stat.S_IXUSR) for mode in modes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil", "leads out"),
        ("set/../../evil", "leads out"),
        ("/evil", "absolute path"),
        ("C:/evil", "absolute path"),
        ("..\\evil", "absolute path"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_climbs_out(kind: str, name: str, message: str, tmp_path: Path) -> None:
    if kind == "zip":
        archive = make_zip(tmp_path / "a", GOOD, (name, b"evil"))
    else:
        archive = make_tar(tmp_path / "a", GOOD_TAR, tar_member(name))
    expect_refused(archive, message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: make_zip(p, GOOD, (zip_mode("set/l", stat.S_IFLNK | 0o777), b"/etc")), "a link"),
        (lambda p: make_zip(p, GOOD, (zip_mode("set/d", stat.S_IFCHR | 0o666), b"")), "no plain"),
        (lambda p: make_tar(p, GOOD_TAR, tar_member("set/l", tarfile.SYMTYPE, "/etc")), "a link"),
        (lambda p: make_tar(p, GOOD_TAR, tar_member("h", tarfile.LNKTYPE, "set/proof")), "a link"),
        (lambda p: make_tar(p, GOOD_TAR, tar_member("d", tarfile.CHRTYPE)), "no plain file"),
        (lambda p: make_tar(p, GOOD_TAR, tar_member("b", tarfile.BLKTYPE)), "no plain file"),
        (lambda p: make_tar(p, GOOD_TAR, tar_member("f", tarfile.FIFOTYPE)), "no plain file"),
        (lambda p: make_tar(p, GOOD_TAR, GOOD_TAR), "stands where another member does"),
        (lambda p: make_zip(p, ("set", b"x"), GOOD), "stands where another member does"),
    ],
)
def test_links_devices_and_members_upon_members(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    expect_refused(make(tmp_path / "a"), message)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_bombs(kind: str, tmp_path: Path) -> None:
    def archive(folder: Path, content: bytes) -> Path:
        folder.mkdir()
        if kind == "zip":
            return make_zip(folder / "a", GOOD, ("set/zeros", content))
        members = [GOOD_TAR, tar_member("set/zeros", content=content)]
        return make_tar(folder / "a", *members, mode="w:gz")

    zeros, noise = bytes(4 << 20), os.urandom(1 << 20)
    some = Limits(ratio_from=1 << 20)
    expect_refused(archive(tmp_path / "1", zeros), "more than 100 times its size", some)
    expect_refused(archive(tmp_path / "2", noise), "more than 99999 bytes", Limits(bytes=99999))
    expect_refused(archive(tmp_path / "3", b"x"), "more than 1 members", Limits(members=1))
    # what does not compress is no bomb, whatever its size
    unpack(archive(tmp_path / "4", noise), tmp_path / "out", "proof", "set", limits=some)
    assert files(tmp_path / "out")["zeros"] == noise


def test_a_zip_that_lies_about_its_sizes(tmp_path: Path) -> None:
    """The limit is on what comes out, not on what the directory says."""
    archive = make_zip(tmp_path / "a", ("set/proof", bytes(3_000_000)))
    content = archive.read_bytes()
    small = (500).to_bytes(4, "little")
    archive.write_bytes(content.replace((3_000_000).to_bytes(4, "little"), small))
    expect_refused(archive, "damaged|more than", Limits(bytes=1_000_000))


def test_damage_is_named(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    for number, archive in enumerate(
        (
            make_zip(tmp_path / "a.zip", ("set/proof", content)),
            make_tar(tmp_path / "a.tgz", tar_member("set/proof", content=content), mode="w:gz"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        damaged = bytearray(archive.read_bytes())
        damaged[50_000] ^= 255
        (folder / "a").write_bytes(damaged)
        expect_refused(folder / "a", "damaged")


def test_an_encrypted_member(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a", GOOD)
    content = bytearray(archive.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    archive.write_bytes(content)
    expect_refused(archive, "is encrypted")


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a", GOOD)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine").write_text("mine")
    with pytest.raises(UserError, match="move it away"):
        unpack(archive, tmp_path / "folder", "proof", "set")
    assert files(tmp_path / "folder") == {"mine": b"mine"}
    unpack(archive, tmp_path / "folder", "proof", "set", shared=True)
    assert files(tmp_path / "folder") == {"mine": b"mine", "proof": b"p"}
    with pytest.raises(UserError, match="proof: move away"):
        unpack(archive, tmp_path / "folder", "proof", "set", shared=True)
    assert files(tmp_path / "folder") == {"mine": b"mine", "proof": b"p"}


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a", GOOD)
    (tmp_path / ".folder.unpacking-xyz/all").mkdir(parents=True)
    unpack(archive, tmp_path / "folder", "proof", "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder"]
