"""A proposal method at work: what it is given and what it gives, for a study and for one photograph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name

from camground.data.photographs import photograph_size
from camground.proposals.config import ProposalsConfig
from camground.proposals.methods import METHODS
from camground.proposals.thinning import Proposals
from camground.study.errors import UserError


@dataclass(frozen=True, slots=True)
class Photograph:
    """A row of the table `images`: the path as it stands there, relative to `folder`; size: width, height."""

    image_id: str
    path: str
    size: tuple[int, int]
    folder: Path = Path()

    @property
    def file(self) -> Path:
        return self.folder / self.path


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


def open_proposer(
    config: ProposalsConfig, tables: Mapping[str, Path] | None = None, threads: int | None = None
) -> Proposer:
    """The method that the config names; see `Proposer`."""
    proposer: type[Proposer] = resolve_name(METHODS[config.method].proposer)
    return proposer(config, tables or {}, threads)


def propose_one_image(config: ProposalsConfig, path: str | Path) -> Proposals:
    """Proposals of a photograph that is in no study, by the config's method.

    A detector is loaded once and kept. Raises `UserError` for a file that is no photograph, or where the
    method has no boxes of a new one.
    """
    method = METHODS[config.method]
    if method.user_files:
        raise UserError(
            f"{path}: the study's proposals are from a file (proposals.method {config.method}), which has"
            " none of a new photograph; in grounding.json of the model's folder set proposals.method to"
            " detector and name the detector that found them, or to selective_search"
        )
    photograph = Photograph("", str(path), photograph_size(path))
    return next(_kept_proposer(config).propose([photograph]))


@lru_cache(maxsize=1)
def _kept_proposer(config: ProposalsConfig) -> Proposer:
    return open_proposer(config)
