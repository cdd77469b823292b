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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

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


def archive_problem(archive: Path) -> str | None:
    """Why `archive` is neither a zip nor a tar, as an error page or a torn file is; None: it is one."""
    if archive.stat().st_size == 0:
        return "it is empty"
    # a torn tar raises more than is_tarfile expects
    with suppress(*DAMAGE):
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
    if not shared:
        refuse_taken(folder, proof, str(archive))
    if problem := archive_problem(archive):
        raise UserError(f"{archive}: {problem}; delete it and run again")
    with fresh_folder(folder) as inner:
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


def refuse_taken(folder: Path, proof: str, what: str) -> None:
    """`UserError` where `folder` holds something, so that `what` cannot be unpacked there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder}: exists, but without {proof}; move it away, so that {what} can be unpacked there"
        )


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, to take its name once it is whole; what stays of it is deleted."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.unpacking-"
    for abandoned in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(abandoned)  # of a run that was killed
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as name:
        temporary = Path(name)
        temporary.chmod(0o755)
        inner = temporary / "all"
        inner.mkdir()
        yield inner


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
    for number, member in enumerate(track(members, f"unpacking {archive.name}"), start=1):
        if number > limits.members:
            raise Refused(archive, f"more than {limits.members} members")
        path = PurePosixPath(member.name)
        why = member.problem or _path_problem(member.name)
        if not why and not member.is_folder and path.parts and not LITTER.intersection(path.parts):
            target = folder / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as output, member.open() as stream:
                    # the size that an archive declares is not believed
                    while chunk := stream.read(CHUNK):
                        written += len(chunk)
                        limits.check(archive, written, packed)
                        output.write(chunk)
                count += 1
            except (FileExistsError, NotADirectoryError):
                why = "stands where another member does"
        if why:
            raise Refused(archive, f"its member {member.name!r} {why}; nothing was unpacked")
    return count


class _Member(NamedTuple):
    """`problem`: why it cannot leave the archive; empty for a plain file or folder."""

    name: str
    is_folder: bool
    problem: str
    open: Callable[[], Any]


def _zip_members(archive: Path, folder: Path, limits: Limits) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        declared = sum(info.file_size for info in opened.infolist())
        limits.check(archive, declared)
        free = shutil.disk_usage(folder).free
        if declared > free:
            raise UserError(
                f"{archive}: unpacks to {declared / 1e9:.1f} GB, but {folder.parent.parent} has"
                f" {free / 1e9:.1f} GB left; make room and run again"
            )
        for info in opened.infolist():
            # the high half of the attributes is the mode, where the archive was made on Unix
            kind = stat.S_IFMT(info.external_attr >> 16)
            problem = "is encrypted" if info.flag_bits & 1 else ""
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                problem = "is a link" if kind == stat.S_IFLNK else "is no plain file"
            yield _Member(info.orig_filename, info.is_dir(), problem, partial(opened.open, info))


def _tar_members(archive: Path, limits: Limits) -> Iterator[_Member]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            problem = ""
            if not info.isdir() and (not info.isreg() or info.sparse is not None):
                problem = "is a link" if info.issym() or info.islnk() else "is no plain file"
            yield _Member(info.name, info.isdir(), problem, partial(opened.extractfile, info))
        # the checksum of a compressed tar comes after its last member: read on, or damage goes unseen
        rest = 0
        while opened.fileobj is not None and (chunk := opened.fileobj.read(CHUNK)):
            rest += len(chunk)
            limits.check(archive, rest)


def _path_problem(name: str) -> str:
    """Why a member of that name could leave the folder; empty when it cannot."""
    path = PurePosixPath(name)
    if "\\" in name or "\0" in name or path.is_absolute() or re.match(r"[A-Za-z]:", name):
        return "has an absolute path, or one of another system"
    return "leads out of the folder" if ".." in path.parts else ""
