"""The table of data sources, `sources.yaml` beside this file, read and checked.

A folder of its own, so that an edit of the table does not count as an edit of the stage `data`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from camground.study.errors import UserError

TABLE = Path(__file__).with_name("sources.yaml")
DIGESTS = {"sha256": 64, "md5": 32, "git_blob": 40}  # hexadecimal digits


@dataclass(frozen=True)
class Source:
    """One row of the table; the keys are explained at its head."""

    name: str
    what: str
    licence: str
    addresses: tuple[str, ...]
    file: str
    unpack: bool
    folder: str
    proof: str
    shared: bool = False
    top: str | None = None
    by_hand: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    git_blob: str | None = None

    @property
    def digests(self) -> dict[str, str]:
        """The known digests, algorithm -> hexadecimal."""
        return {name: getattr(self, name) for name in DIGESTS if getattr(self, name)}

    def place(self, root: Path) -> Path:
        """The folder below `root` where the data ends."""
        return root / self.folder

    def download(self, root: Path) -> Path:
        """Where the file that is downloaded lies: an archive in downloads/, a plain file in its folder."""
        return (downloads(root) if self.unpack else self.place(root)) / self.file

    def is_there(self, root: Path) -> bool:
        """Whether the data is in its folder: its `proof` is."""
        return next(self.place(root).glob(self.proof), None) is not None


@dataclass(frozen=True)
class Sources:
    """The sources by name, and the names of those that a data set needs."""

    sources: dict[str, Source]
    sets: dict[str, tuple[str, ...]]

    def __getitem__(self, name: str) -> Source:
        if name not in self.sources:
            raise UserError(f"no source {name!r}; there are {', '.join(self.sources)}")
        return self.sources[name]

    def needed(self, dataset: str) -> tuple[str, ...]:
        """Names of the sources of a data set; none for one that is not downloaded."""
        return self.sets.get(dataset, ())


def downloads(root: Path) -> Path:
    """The folder of archives, receipts and the lock table."""
    return root / "downloads"


def read_sources(table: Path | str = TABLE) -> Sources:
    """The checked table; `UserError` names the file, the source and the key.

    Another table than the package's is laid over it, row by row and key by key, so that a mirror is
    `sources: {refcoco: {addresses: [...]}}`, and a digest that is not to be asked for `sha256: null`.
    """
    table = Path(table).expanduser()
    content = _content(table)
    if table != TABLE:
        content = _laid_over(table, _content(TABLE), content)
    sources = {
        str(name): _source(table, str(name), row) for name, row in content["sources"].items()
    }
    sets = {}
    for name, members in (content.get("sets") or {}).items():
        unknown = [member for member in members if member not in sources]
        if unknown:
            raise UserError(f"{table}: sets.{name} names unknown sources {unknown}")
        sets[str(name)] = tuple(members)
    _check_places(table, list(sources.values()))
    return Sources(sources, sets)


def _content(table: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(table.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{table}: not a readable table of sources: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("sources"), dict):
        raise UserError(f"{table}: must hold `sources`, a mapping from names to sources")
    unknown = sorted(map(str, content.keys() - {"sources", "sets"}))
    if unknown or not isinstance(content.get("sets") or {}, dict):
        raise UserError(f"{table}: may hold `sources` and `sets`, mappings; not {unknown}")
    return content


def _laid_over(table: Path, below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above`, which was read from `table`, over the package's table."""
    rows = dict(below["sources"])
    for name, row in above["sources"].items():
        if not isinstance(row, dict):
            raise UserError(f"{table}: source {name}: must hold keys")
        rows[name] = rows.get(name, {}) | row
    return {"sources": rows, "sets": below["sets"] | (above.get("sets") or {})}


def _source(table: Path, name: str, row: Any) -> Source:
    at = f"{table}: source {name}"
    if not isinstance(row, dict):
        raise UserError(f"{at}: must hold keys")
    known = {field.name: field for field in fields(Source) if field.name != "name"}
    unknown = sorted(set(row) - set(known))
    required = ("what", "licence", "addresses", "file", "unpack", "folder", "proof")
    missing = [key for key in required if row.get(key) is None]
    if unknown or missing:
        raise UserError(f"{at}: missing keys {missing}, unknown keys {unknown}")
    for key, value in row.items():
        if key == "addresses":
            fits = isinstance(value, list) and all(
                re.match(r"https?://", str(one)) for one in value
            )
        elif key in ("unpack", "shared"):
            fits = isinstance(value, bool)
        elif value is None:
            fits = True
        elif key == "bytes":
            fits = isinstance(value, int) and value > 0
        elif key in DIGESTS:
            fits = re.fullmatch(rf"[0-9a-f]{{{DIGESTS[key]}}}", str(value)) is not None
        else:
            fits = isinstance(value, str)
        if not fits:
            raise UserError(f"{at}: {key} cannot be {value!r}")
    for key in ("folder", "file", "proof"):
        path = PurePosixPath(row[key])
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{at}: {key} {row[key]!r} leads out of the folder of the data")
    if not row["addresses"] and not row.get("by_hand"):
        raise UserError(f"{at}: needs addresses, or by_hand to say what to do without")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
        raise UserError(f"{at}: the name must be of letters, digits and . _ + -")
    return Source(name=name, **{**row, "addresses": tuple(row["addresses"])})


def _check_places(table: Path, sources: list[Source]) -> None:
    """An archive's folder takes its name as a whole, so nothing else may lie in it unless it is shared."""
    for source in sources:
        own = PurePosixPath(source.folder)
        for other in sources:
            place = PurePosixPath(other.folder)
            alone = source.unpack and not source.shared and place.is_relative_to(own)
            if other is not source and (alone or place / other.file == own / source.file):
                raise UserError(f"{table}: {source.name} and {other.name} share the folder {own}")
    archives = [source.file for source in sources if source.unpack]
    twice = sorted({file for file in archives if archives.count(file) > 1})
    if twice:
        raise UserError(f"{table}: two archives have the same file name: {twice}")
