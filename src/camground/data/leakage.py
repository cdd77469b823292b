"""Photographs that a study of the REFER family trains on and that an evaluation split of it holds too.

RefCOCO, RefCOCO+ and RefCOCOg draw on the same COCO photographs, each with its own splits, so that a
photograph trained on in one may be evaluated on in another; RefCOCOg's google split parts objects, not
photographs, and so shares photographs within itself. What counts: any ref of the study's split train,
against any ref of any other split of the study itself and of every `refs(*).p` in a folder of data_root.
Stage `data` refuses such a study unless the config allows it; stage `leakage` lists for the report what is
shared, again when another data set has come to the family.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from camground.data.config import ReferConfig
from camground.data.readers.refer_files import Ref, read_refs, refs_path, with_known_splits
from camground.data.rejected import Rejected
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log

TRAIN = "train"
Allowed = Literal["nothing", "siblings", "all"]


@dataclass(frozen=True)
class SharedSplit:
    """An evaluation split, `of` photographs in all, and those that are trained on, by set and id."""

    dataset: str
    split_by: str
    split: str
    of: int
    photographs: list[str]

    def __str__(self) -> str:
        name = f"{self.dataset}({self.split_by})"
        return f"{name} {self.split}: {len(self.photographs)} of its {self.of} photographs"


@dataclass
class Audit:
    """Which photographs are shared. `own`: with splits of the study itself; `siblings`: with those of
    other sets of the family; `compared`: the refs files that were compared, the study's first, as
    `refcoco(unc)`; `unreadable`: those that could not be, and why."""

    dataset: str
    split_by: str
    trained: int
    own: list[SharedSplit] = field(default_factory=list)
    siblings: list[SharedSplit] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def settle(self, allowed: Allowed, listing: Path) -> None:
        """Write all to the JSON file `listing`, and warn of shared photographs that are allowed; `UserError`
        for those that are not."""
        with tables.atomic(listing) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        name = f"{self.dataset}({self.split_by})"
        own = [str(split) for split in self.own]
        siblings = [str(split) for split in self.siblings]
        siblings += [f"{refs}: not audited: {why}" for refs, why in self.unreadable.items()]
        refused = ([] if allowed == "all" else own) + (siblings if allowed == "nothing" else [])
        if refused:
            key = "data.refer.allow_leakage: true"
            if not own:
                key += " (or, for other data sets alone, data.refer.allow_sibling_leakage: true)"
            lines = [f"{name} trains on photographs that are evaluated on:", *refused]
            lines.append(f"all are listed in {listing}; to train nevertheless set {key}")
            raise UserError("\n  ".join(lines))
        if own or siblings:
            message = "%s trains on photographs that are evaluated on, which the config allows:\n  %s"
            log.warning(message, name, "\n  ".join([*own, *siblings]))
        else:
            compared = ", ".join(self.compared)
            log.info("%s: no photograph of training is evaluated on in %s", name, compared)


def _by_split(dataset: str, refs: Iterable[Ref]) -> dict[str, set[str]]:
    """The photographs of each split."""
    photographs: dict[str, set[str]] = defaultdict(set)
    for ref in refs:
        # COCO's ids are the same for the same photograph in all sets of the family; those of other
        # collections are the set's own and could be equal by chance
        collection = "coco" if ref.file_name.startswith("COCO_") else dataset
        photographs[ref.split].add(f"{collection}:{ref.image_id}")
    return photographs


def _shared(trained: set[str], names: tuple[str, str], splits: dict[str, set[str]]) -> list[SharedSplit]:
    return [
        SharedSplit(*names, split, len(photographs), sorted(photographs & trained))
        for split, photographs in sorted(splits.items())
        if split != TRAIN and photographs & trained
    ]


def allowed_by(config: ReferConfig) -> Allowed:
    """What the config lets pass."""
    if config.allow_leakage:
        return "all"
    return "siblings" if config.allow_sibling_leakage else "nothing"


def audit(data_root: Path, dataset: str, split_by: str, refs: Iterable[Ref]) -> Audit:
    """Compare the study's `refs` with its own splits and with the other refs files in `data_root`."""
    splits = _by_split(dataset, refs)
    trained = splits.get(TRAIN, set())
    own = _shared(trained, (dataset, split_by), splits)
    result = Audit(dataset, split_by, len(trained), own, compared=[f"{dataset}({split_by})"])
    for path in sorted(data_root.glob("*/refs(*).p")):
        names = path.parent.name, path.name.removeprefix("refs(").removesuffix(").p")
        if names == (dataset, split_by):
            continue
        name = "{}({})".format(*names)
        try:
            sibling_splits = _by_split(names[0], read_refs(path, Rejected()))
        except UserError as error:
            result.unreadable[name] = str(error)
            continue
        result.compared.append(name)
        result.siblings += _shared(trained, names, sibling_splits)
    return result


def list_leakage(data_root: Path, dataset: str, split_by: str, allowed: Allowed, output: Path) -> None:
    """Write the audit of a data set as JSON; `UserError` for shared photographs that are not allowed."""
    root = data_root.expanduser().absolute()
    path = refs_path(root / dataset, split_by)
    refs = with_known_splits(read_refs(path, Rejected()), path)
    audit(root, dataset, split_by, refs).settle(allowed, output)
