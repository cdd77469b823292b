"""Photographs that a study of the REFER family trains on and that an evaluation split holds too.

RefCOCO, RefCOCO+ and RefCOCOg draw on the same COCO photographs, each with its own splits, so that a
photograph trained on in one may be evaluated on in another; RefCOCOg's google split parts objects, not
photographs, and so shares photographs within itself. Numbers on such photographs say less than they
seem to. What counts: any ref of the study's split train, against any ref of any other split of the
study itself and of every `refs(*).p` in a folder of data_root.

    camground leakage --data-root DIR --dataset refcoco --split-by unc --output F.json

writes the audit and ends with status 1 when photographs are shared, unless `--allow` says that they may
be. Stage `data` does the same of the study that it prepares, and refuses it; stage `leakage` writes down
for the report what is shared, again when another data set has come to the family.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from camground.data.readers.refer_files import Ref, read_refs, refs_path, with_known_splits
from camground.data.readers.rejected import Rejected
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log

TRAIN = "train"
ALLOWED = ("nothing", "siblings", "all")


@dataclass(frozen=True)
class Shared:
    """An evaluation split's photographs, `of` in all, that are trained on, by file name or id."""

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
    """What was found. `own`: splits of the study itself; `siblings`: of other sets of the family;
    `compared`: the refs files that were looked at, the study's first, as `refcoco(unc)`;
    `unreadable`: those that could not be, and why."""

    dataset: str
    split_by: str
    trained: int
    own: list[Shared] = field(default_factory=list)
    siblings: list[Shared] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def _siblings(self) -> list[str]:
        shared = [str(one) for one in self.siblings]
        return shared + [f"{name}: not audited: {why}" for name, why in self.unreadable.items()]

    def write(self, path: Path) -> None:
        """As JSON, atomically."""
        with tables.atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def settle(self, allowed: str, listing: Path) -> None:
        """Warn of what is allowed, one of `ALLOWED`; UserError for what is not.

        listing: where all photographs are named when they are refused.
        """
        name = f"{self.dataset}({self.split_by})"
        own, siblings = [str(one) for one in self.own], self._siblings()
        refused = ([] if allowed == "all" else own) + (siblings if allowed == "nothing" else [])
        if refused:
            key = "data.refer.allow_leakage: true"
            if not own:
                key += " (or, for other data sets alone, data.refer.allow_sibling_leakage: true)"
            raise UserError(
                "\n  ".join(
                    [f"{name} trains on photographs that are evaluated on:", *refused]
                    + [f"all are listed in {listing}; to train nevertheless set {key}"]
                )
            )
        if own or siblings:
            log.warning(
                "%s trains on photographs that are evaluated on, which the config allows:\n  %s",
                name,
                "\n  ".join([*own, *siblings]),
            )
        else:
            compared = ", ".join(self.compared)
            log.info("%s: no photograph of training is evaluated on in %s", name, compared)


def photograph(dataset: str, ref: Ref) -> str:
    """The same for the same photograph in every set of the family: COCO's ids are shared by its
    sets; those of other collections are the set's own and could be equal by chance."""
    return f"{'coco' if ref.file_name.startswith('COCO_') else dataset}:{ref.image_id}"


def by_split(dataset: str, refs: Iterable[Ref]) -> dict[str, set[str]]:
    """The photographs of each split."""
    found: dict[str, set[str]] = {}
    for ref in refs:
        found.setdefault(ref.split, set()).add(photograph(dataset, ref))
    return found


def _shared(
    trained: set[str], dataset: str, split_by: str, splits: dict[str, set[str]]
) -> list[Shared]:
    return [
        Shared(dataset, split_by, split, len(photographs), sorted(photographs & trained))
        for split, photographs in sorted(splits.items())
        if split != TRAIN and photographs & trained
    ]


def allowed_by(config: Mapping[str, Any]) -> str:
    """What section `data.refer` lets pass."""
    if config["allow_leakage"]:
        return "all"
    return "siblings" if config["allow_sibling_leakage"] else "nothing"


def audit(data_root: Path, dataset: str, split_by: str, refs: Iterable[Ref]) -> Audit:
    """Compare the study's `refs` with its own splits and with the other refs files in `data_root`."""
    splits = by_split(dataset, refs)
    trained = splits.get(TRAIN, set())
    made = Audit(dataset, split_by, len(trained), own=_shared(trained, dataset, split_by, splits))
    made.compared.append(f"{dataset}({split_by})")
    for path in sorted(data_root.glob("*/refs(*).p")):
        other = re.fullmatch(r"refs\((.*)\)\.p", path.name)
        if other is None or (path.parent.name, other[1]) == (dataset, split_by):
            continue
        name = f"{path.parent.name}({other[1]})"
        try:
            sibling = by_split(path.parent.name, read_refs(path, Rejected()))
        except UserError as error:
            made.unreadable[name] = str(error)
            continue
        made.compared.append(name)
        made.siblings += _shared(trained, path.parent.name, other[1], sibling)
    return made


def check(data_root: Path, dataset: str, split_by: str, allow: str, output: Path) -> None:
    """Audit the data set's own refs, write the audit to `output`, and warn or refuse as `allow` says."""
    root = data_root.expanduser().absolute()
    path = refs_path(root / dataset, split_by)
    refs = with_known_splits(read_refs(path, Rejected()), path)
    made = audit(root, dataset, split_by, refs)
    made.write(output)
    made.settle(allow, output)
