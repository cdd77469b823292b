"""The table of data sources, `sources.yaml` beside this file, read and checked."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from camground.study.errors import UserError
from camground.study.section import Section, problems

TABLE = Path(__file__).with_name("sources.yaml")
DIGESTS = ("sha256", "md5", "git_blob")

Text = Annotated[str, Field(min_length=1)]
Address = Annotated[str, Field(pattern="^https?://")]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Sha1 = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# a name becomes a file's name
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class Hub(Section):
    """Photographs of a data set on the Hugging Face hub; the keys are explained at the table's head."""

    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Sha1
    files: Text
    photographs: Annotated[int, Field(gt=0)]


class Source(Section):
    """One row of the table; the keys are explained at its head."""

    name: str
    what: Text
    licence: Text
    hub: Hub | None = None
    addresses: tuple[Address, ...]
    file: Text
    unpack: bool
    folder: Text
    proof: Text
    shared: bool = False
    top: str | None = None
    by_hand: str | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    git_blob: Sha1 | None = None

    @model_validator(mode="after")
    def _stays_below_the_root(self) -> Self:
        for key in ("folder", "file", "proof"):
            path = PurePosixPath(getattr(self, key))
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{key} {str(path)!r} leads out of the folder of the data")
        if not self.addresses and not self.by_hand:
            raise ValueError("needs addresses, or by_hand to say what to do without")
        return self

    @property
    def digests(self) -> dict[str, str]:
        """The known digests, algorithm -> hexadecimal."""
        return {name: getattr(self, name) for name in DIGESTS if getattr(self, name)}

    def target(self, root: Path) -> Path:
        """The folder below `root` where the data ends."""
        return root / self.folder

    def download(self, root: Path) -> Path:
        """The path of the downloaded file: an archive in downloads/, a plain file in its folder."""
        return (downloads(root) if self.unpack else self.target(root)) / self.file

    def is_complete(self, root: Path) -> bool:
        """Whether the data is in its folder: its `proof` is."""
        return next(self.target(root).glob(self.proof), None) is not None


class Sources(Section):
    """The sources by name, and the names of those that a data set needs."""

    sources: dict[Name, Source]
    sets: dict[str, tuple[str, ...]] = Field(default={})

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name, members in self.sets.items():
            if unknown := [member for member in members if member not in self.sources]:
                raise ValueError(f"sets.{name} names unknown sources {unknown}")
        # an archive's folder takes its name as a whole, so nothing else may lie in it unless it is shared
        for source in self.sources.values():
            own = PurePosixPath(source.folder)
            for other in self.sources.values():
                folder = PurePosixPath(other.folder)
                alone = source.unpack and not source.shared and folder.is_relative_to(own)
                if other is not source and (alone or folder / other.file == own / source.file):
                    raise ValueError(f"{source.name} and {other.name} share the folder {own}")
        archives = [source.file for source in self.sources.values() if source.unpack]
        if twice := sorted({file for file in archives if archives.count(file) > 1}):
            raise ValueError(f"two archives have the same file name: {twice}")
        return self

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
    content = _rows(table)
    if table != TABLE:
        packaged = _rows(TABLE)
        for name, row in content["sources"].items():
            packaged["sources"][name] = packaged["sources"].get(name, {}) | row
        sets = content.get("sets") or {}
        sets = packaged["sets"] | sets if isinstance(sets, dict) else sets
        content = content | {"sources": packaged["sources"], "sets": sets}
    try:
        return Sources.model_validate(content)
    except ValidationError as error:
        raise UserError("\n  ".join([f"{table}:", *problems(error, Sources)])) from None


def _rows(table: Path) -> dict[str, Any]:
    """The content of a table, each source with its name."""
    try:
        content = yaml.safe_load(table.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{table}: not a readable table of sources: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("sources"), dict):
        raise UserError(f"{table}: must hold `sources`, a mapping from names to sources")
    for name, row in content["sources"].items():
        if not isinstance(row, dict):
            raise UserError(f"{table}: sources.{name}: must hold keys")
        content["sources"][name] = {"name": name} | row
    return content
