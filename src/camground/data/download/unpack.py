"""Unpack a zip or tar that nobody vouches for: whole under its final name, or not at all.

Only plain files and folders leave the archive. A member that is a link, a device or encrypted, that has
an absolute path or one with `..`, an archive of more bytes or members than allowed, or one that swells
as only a bomb does, is refused with a `UserError` (`Refused`), and nothing of it stays. (The extraction
filters of `tarfile` let links inside the folder pass, and `zipfile` renames members in silence.)
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
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError),
)


class Refused(UserError):
    """An archive that may be harmful, not one that is damaged or lacks room."""

    def __init__(self, archive: Path, why: str) -> None:
        super().__init__(f"{archive}: refused: {why}")


class _RefusedMember(Refused):
    def __init__(self, archive: Path, member: str, why: str) -> None:
        super().__init__(archive, f"its member {member!r} {why}; nothing was unpacked")


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to. COCO train2014, the largest here: 13.5 GB, 82,783 members, ratio 1."""

    bytes: int = 64 << 30
    members: int = 1_000_000
    ratio: float = 100.0  # unpacked bytes per byte of archive
    ratio_from: int = 64 << 20  # unpacked bytes below which the ratio does not count

    def check(self, archive: Path, unpacked: int, packed: int | None = None) -> None:
        """`Refused` for more unpacked bytes than allowed, or than `packed` bytes honestly hold."""
        if unpacked > self.bytes:
            raise Refused(archive, f"unpacks to more than {self.bytes} bytes")
        if packed is not None and unpacked > max(self.ratio_from, self.ratio * packed):
            raise Refused(archive, f"unpacks to more than {self.ratio:g} times its size")

    def check_members(self, archive: Path, count: int) -> None:
        if count > self.members:
            raise Refused(archive, f"more than {self.members} members")


def archive_problem(archive: Path) -> str | None:
    """Why `archive` is neither a zip nor a tar, as an error page or a torn file is; None: it is one."""
    if archive.stat().st_size == 0:
        return "it is empty"
    if zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive):
        return None
    with archive.open("rb") as file:
        page = file.read(64).lstrip().startswith(b"<")
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
    if folder.exists() and not shared and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder}: exists, but without {proof}; move it away, so that {archive} can be unpacked there"
        )
    if problem := archive_problem(archive):
        raise UserError(f"{archive}: {problem}; delete it and run again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.unpacking-"
    for abandoned in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(abandoned)  # of a run that was killed
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as name:
        temporary = Path(name)
        temporary.chmod(0o755)
        inner = temporary / "all"
        inner.mkdir()
        try:
            count = _write_all(archive, inner, limits or Limits())
        except DAMAGE as error:
            raise UserError(f"{archive}: damaged ({error}); delete it and run again") from None
        except OSError as error:
            raise UserError(f"{archive}: cannot be unpacked into {folder}: {error}") from None
        names = sorted(entry.name for entry in inner.iterdir())
        if top and names == [top] and (inner / top).is_dir():
            inner = inner / top
            names = sorted(entry.name for entry in inner.iterdir())
        if next(inner.glob(proof), None) is None:
            held = ", ".join(names[:8]) or "nothing"
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
    taken = [str(folder / entry.name) for entry in entries if (folder / entry.name).exists()]
    if taken:
        raise UserError(f"{', '.join(taken)}: move away, so that {archive} can be unpacked there")
    for entry in entries:
        entry.replace(folder / entry.name)


def _write_all(archive: Path, folder: Path, limits: Limits) -> int:
    """Write every plain file below `folder`; how many there were."""
    packed = archive.stat().st_size
    written = count = 0
    zipped = zipfile.is_zipfile(archive)
    members = _zip_members(archive, folder, limits) if zipped else _tar_members(archive, limits)
    for path, stream in track(members, f"unpacking {archive.name}"):
        count += 1
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            output = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            why = "stands where another member does"
            raise _RefusedMember(archive, str(path), why) from None
        with output, stream:
            # the size that an archive declares is not believed
            while chunk := stream.read(CHUNK):
                written += len(chunk)
                limits.check(archive, written, packed)
                output.write(chunk)
    return count


def _zip_members(archive: Path, folder: Path, limits: Limits) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Path and content of the plain files; anything that is neither file nor folder is refused."""
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        limits.check_members(archive, len(infos))
        paths = [_checked_path(archive, info.orig_filename) for info in infos]
        for info in infos:
            # the high half of the attributes is the mode, where the archive was made on Unix
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                why = "is a link" if kind == stat.S_IFLNK else "is no plain file"
                raise _RefusedMember(archive, info.filename, why)
            if info.flag_bits & 1:
                raise _RefusedMember(archive, info.filename, "is encrypted")
        _check_room(archive, folder, sum(info.file_size for info in infos), limits)
        for info, path in zip(infos, paths, strict=True):
            if path is not None and not info.is_dir():
                yield path, opened.open(info)


def _tar_members(archive: Path, limits: Limits) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """As `_zip_members`."""
    with tarfile.open(archive, "r:*") as opened:
        for number, info in enumerate(opened, start=1):
            limits.check_members(archive, number)
            path = _checked_path(archive, info.name)
            if info.isdir():
                continue
            if not info.isreg() or info.sparse is not None:
                why = "is a link" if info.issym() or info.islnk() else "is no plain file"
                raise _RefusedMember(archive, info.name, why)
            stream = opened.extractfile(info)
            if path is not None and stream is not None:
                yield path, stream
        # the checksum of a compressed tar comes after its last member: read on, or damage goes unseen
        rest = 0
        while opened.fileobj is not None and (chunk := opened.fileobj.read(CHUNK)):
            rest += len(chunk)
            limits.check(archive, rest)


def _checked_path(archive: Path, name: str) -> PurePosixPath | None:
    """The member's path below the folder; None for litter and the folder itself."""
    path = PurePosixPath(name)
    if "\\" in name or "\0" in name or path.is_absolute() or re.match(r"[A-Za-z]:", name):
        why = "has an absolute path, or one of another system"
        raise _RefusedMember(archive, name, why)
    if ".." in path.parts:
        raise _RefusedMember(archive, name, "leads out of the folder")
    return path if path.parts and not LITTER.intersection(path.parts) else None


def _check_room(archive: Path, folder: Path, declared: int, limits: Limits) -> None:
    limits.check(archive, declared)
    free = shutil.disk_usage(folder).free
    if declared > free:
        raise UserError(
            f"{archive}: unpacks to {declared / 1e9:.1f} GB, but {folder.parent.parent} has"
            f" {free / 1e9:.1f} GB left; make room and run again"
        )
