"""Unpack a zip or tar that nobody vouches for: whole under its final name, or not at all.

Only plain files and folders leave the archive. A member that is a link, a device or encrypted, that has
an absolute path or one with `..`, an archive of more bytes or members than allowed, or one that swells
as only a bomb does, is refused with a `UserError` (`Refused`), and nothing of it stays.
"""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from camground.study.errors import UserError
from camground.study.progress import log, track

CHUNK = 1 << 20
# What macOS adds to archives beside the files that are meant.
LITTER = frozenset({"__MACOSX", ".DS_Store"})
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


class Refused(UserError):
    """An archive that may be harmful, not one that is damaged or lacks room."""


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to. COCO train2014, the largest here: 13.5 GB, 82,783 members, ratio 1."""

    bytes: int = 64 << 30
    members: int = 1_000_000
    ratio: float = 100.0  # unpacked bytes for a byte of archive
    ratio_from: int = 64 << 20  # unpacked bytes below which no ratio is looked at


@dataclass(frozen=True)
class _Member:
    """A plain file of an archive: where it goes and how to read it."""

    path: PurePosixPath
    stream: IO[bytes]


def problem(archive: Path) -> str | None:
    """Why `archive` is neither a zip nor a tar, as an error page or a torn file is; None: it is one."""
    if archive.stat().st_size == 0:
        return "it is empty"
    if zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive):
        return None
    with archive.open("rb") as file:
        start = file.read(64).lstrip()
    page = start[:1] == b"<"
    return "it is a web page, not an archive" if page else "it is no whole zip or tar archive"


def unpack(
    archive: Path,
    folder: Path,
    proof: str,
    top: str | None = None,
    shared: bool = False,
    limits: Limits | None = None,
) -> None:
    """Unpack `archive` so that `folder`, which must not exist or be empty, holds its members.

    `top` names a leading folder of all members that is left out, where there is one. `proof` is a file
    or pattern that must be in `folder` at the end. A `shared` folder may hold other things already: what
    the archive holds at its top takes its name there one by one, that of the proof last. `UserError` when
    the archive is refused or damaged.
    """
    limits = limits or Limits()
    if folder.exists() and not shared and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder}: exists, but without {proof}; move it away, so that {archive} can be unpacked there"
        )
    wrong = problem(archive)
    if wrong:
        raise UserError(f"{archive}: {wrong}; delete it and run again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.unpacking-"
    for left in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(left)  # of a run that was killed
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as name:
        temporary = Path(name)
        temporary.chmod(0o755)
        inner = temporary / "all"
        inner.mkdir()
        try:
            count = _write_all(archive, inner, limits)
        except DAMAGE as error:
            raise UserError(f"{archive}: damaged ({error}); delete it and run again") from None
        except OSError as error:
            raise UserError(f"{archive}: cannot be unpacked into {folder}: {error}") from None
        if top and [one.name for one in inner.iterdir()] == [top] and (inner / top).is_dir():
            inner = inner / top
        if next(inner.glob(proof), None) is None:
            held = ", ".join(sorted(one.name for one in inner.iterdir())[:8]) or "nothing"
            raise UserError(
                f"{archive}: holds no {proof}, so it is not what was expected; at its top: {held}"
            )
        if shared:
            _move_in(archive, inner, folder, PurePosixPath(proof).parts[0])
        else:
            inner.replace(folder)
    log.info("%s: %d files in %s", archive.name, count, folder)


def _move_in(archive: Path, inner: Path, folder: Path, last: str) -> None:
    folder.mkdir(exist_ok=True)
    entries = sorted(inner.iterdir(), key=lambda entry: (entry.name == last, entry.name))
    there = [str(folder / entry.name) for entry in entries if (folder / entry.name).exists()]
    if there:
        raise UserError(f"{', '.join(there)}: move away, so that {archive} can be unpacked there")
    for entry in entries:
        entry.replace(folder / entry.name)


def _write_all(archive: Path, folder: Path, limits: Limits) -> int:
    """Write every plain file below `folder`; how many there were."""
    packed = archive.stat().st_size
    written = count = 0
    # a list of its own, made in the reading of the archive: what it declares is not believed
    for member in track(_members(archive, folder, limits), f"unpacking {archive.name}"):
        count += 1
        target = folder / member.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            output = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise _refused(archive, str(member.path), "stands where another member does") from None
        with output, member.stream as stream:
            while chunk := stream.read(CHUNK):
                written += len(chunk)
                if written > limits.bytes:
                    raise Refused(f"{archive}: refused: unpacks to more than {limits.bytes} bytes")
                if written > max(limits.ratio_from, limits.ratio * packed):
                    raise Refused(
                        f"{archive}: refused: unpacks to more than {limits.ratio:g} times its size"
                    )
                output.write(chunk)
    return count


def _members(archive: Path, folder: Path, limits: Limits) -> Iterator[_Member]:
    """The plain files, each open; anything that is neither file nor folder is refused."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive, folder, limits)
    else:
        yield from _tar_members(archive, limits)


def _zip_members(archive: Path, folder: Path, limits: Limits) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if len(infos) > limits.members:
            raise Refused(f"{archive}: refused: more than {limits.members} members")
        checked = [(info, _checked_path(archive, info.orig_filename)) for info in infos]
        for info, _ in checked:
            # the high half of the attributes is the mode, where the archive was made on Unix
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "no plain file"
                raise _refused(archive, info.filename, f"is {what}")
            if info.flag_bits & 1:
                raise _refused(archive, info.filename, "is encrypted")
        _check_room(archive, folder, sum(info.file_size for info in infos), limits)
        for info, path in checked:
            if path is not None and not info.is_dir():
                yield _Member(path, opened.open(info))


def _tar_members(archive: Path, limits: Limits) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as opened:
        for number, info in enumerate(opened, start=1):
            if number > limits.members:
                raise Refused(f"{archive}: refused: more than {limits.members} members")
            path = _checked_path(archive, info.name)
            if info.isdir():
                continue
            if not info.isreg() or info.sparse is not None:
                what = "a link" if info.issym() or info.islnk() else "no plain file"
                raise _refused(archive, info.name, f"is {what}")
            stream = opened.extractfile(info)
            if path is not None and stream is not None:
                yield _Member(path, stream)
        # the checksum of a compressed tar comes after its last member: read on, or damage goes unseen
        rest = 0
        while opened.fileobj is not None and (chunk := opened.fileobj.read(CHUNK)):
            rest += len(chunk)
            if rest > limits.bytes:
                raise Refused(f"{archive}: refused: unpacks to more than {limits.bytes} bytes")


def _checked_path(archive: Path, name: str) -> PurePosixPath | None:
    """The member's path below the folder; None for litter and the folder itself."""
    path = PurePosixPath(name)
    if "\\" in name or "\0" in name or path.is_absolute() or re.match(r"[A-Za-z]:", name):
        raise _refused(archive, name, "has an absolute path, or one of another system")
    if ".." in path.parts:
        raise _refused(archive, name, "leads out of the folder")
    if not path.parts or LITTER.intersection(path.parts):
        return None
    return path


def _check_room(archive: Path, folder: Path, declared: int, limits: Limits) -> None:
    if declared > limits.bytes:
        raise Refused(f"{archive}: refused: unpacks to more than {limits.bytes} bytes")
    free = shutil.disk_usage(folder).free
    if declared > free:
        raise UserError(
            f"{archive}: unpacks to {declared / 1e9:.1f} GB, but {folder.parent.parent} has"
            f" {free / 1e9:.1f} GB left; make room and run again"
        )


def _refused(archive: Path, member: str, why: str) -> Refused:
    return Refused(f"{archive}: refused: its member {member!r} {why}; nothing was unpacked")
