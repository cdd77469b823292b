"""A proposal method at work: what it is given and what it gives, for a study and for one photograph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name

from camground.data.photographs import Source, name_of
from camground.proposals.config import ProposalsConfig
from camground.proposals.methods import METHODS
from camground.proposals.thinning import Proposals, filled_up
from camground.study.errors import UserError


@dataclass(frozen=True, slots=True)
class Photograph:
    """A row of the table `images`: the path as it stands there, relative to `folder`; size: width, height.
    given: one that is in no study, in place of the path."""

    image_id: str
    path: str
    size: tuple[int, int]
    folder: Path = Path()
    given: Source | None = None

    @property
    def source(self) -> Source:
        """What it is read from."""
        return self.folder / self.path if self.given is None else self.given


class Proposer(ABC):
    """A method, ready to propose boxes.

    tables: the paths of the tables that the method's `writes` names. threads: processor threads,
    or processes, to use; None leaves PyTorch's number as it is. Raises `UserError` for settings that cannot
    be used.
    """

    def __init__(self, config: ProposalsConfig, tables: Mapping[str, Path], threads: int | None) -> None:
        self.config, self.tables, self.threads = config, tables, threads

    @abstractmethod
    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        """The proposals of each photograph in turn; `UserError` names one that cannot be used.

        Memory must not grow with the number of photographs by more than a line for each.
        """


class FilledUp(Proposer):
    """`own` and, where it has fewer than `proposals.count` boxes, those of `more`."""

    def __init__(self, own: Proposer, more: Proposer) -> None:
        super().__init__(own.config, own.tables, own.threads)
        self.own, self.more = own, more

    def propose(self, photographs: Sequence[Photograph]) -> Iterator[Proposals]:
        pairs = zip(self.own.propose(photographs), self.more.propose(photographs), strict=True)
        yield from (filled_up(own, more, self.config) for own, more in pairs)


def open_proposer(
    config: ProposalsConfig, tables: Mapping[str, Path] | None = None, threads: int | None = None
) -> Proposer:
    """The method that the config names, filled up where it says so; see `Proposer`."""
    methods = [resolve_name(METHODS[name].proposer) for name in config.methods]
    own, *more = (proposer(config, tables or {}, threads) for proposer in methods)
    return FilledUp(own, more[0]) if more else own


def propose_one_image(config: ProposalsConfig, source: Source, size: tuple[int, int]) -> Proposals:
    """Proposals of a photograph that is in no study, by the config's method; size: its width and height.

    A detector is loaded once and kept. Raises `UserError` for what is no photograph, or where the
    method has no boxes of a new one.
    """
    method = METHODS[config.method]
    if method.user_files:
        raise UserError(
            f"{name_of(source)}: the study's proposals are from a file (proposals.method {config.method}),"
            " which has none of a new photograph; in grounding.json of the model's folder set"
            " proposals.method to detector and name the detector that found them, or to selective_search"
        )
    return next(_kept_proposer(config).propose([Photograph("", "", size, given=source)]))


@lru_cache(maxsize=1)
def _kept_proposer(config: ProposalsConfig) -> Proposer:
    return open_proposer(config)
