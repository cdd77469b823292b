"""Photographs that a study of the REFER family trains on and that an evaluation split holds too.

RefCOCO, RefCOCO+ and RefCOCOg draw on the same COCO photographs, each with its own splits, so that a
photograph trained on in one may be evaluated on in another; RefCOCOg's google split parts objects, not
photographs, and so shares photographs within itself. Numbers on such photographs say less than they
seem to. What counts: any ref of the study's split train, against any ref of any other split of the
study itself and of every `refs(*).p` in a folder of data_root.

    python -m camground.data.leakage --data-root DIR --dataset refcoco --split-by unc --output F.json

writes the audit and ends with status 1 when photographs are shared; stage `data` does the same of the
study that it prepares, and leaves `leakage.json` beside its tables, also when it refuses.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from camground import stage, tables
from camground.data.refer_files import Ref, read_refs, refs_path
from camground.data.rejected import Rejected
from camground.errors import UserError
from camground.progress import log

TRAIN = "train"


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
    `unreadable`: files that could not be looked at, and why."""

    dataset: str
    split_by: str
    trained: int
    own: list[Shared] = field(default_factory=list)
    siblings: list[Shared] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.own or self.siblings or self.unreadable)

    def write(self, path: Path) -> None:
        """As JSON, atomically."""
        with tables.atomic(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def settle(self, allow: bool, allow_siblings: bool, listing: Path) -> None:
        """Warn of what is allowed; UserError for what is not. listing: where the audit was written."""
        name = f"{self.dataset}({self.split_by})"
        found = [str(one) for one in (*self.own, *self.siblings)] + self.unreadable
        refused = [] if allow else [str(one) for one in self.own]
        if not (allow or allow_siblings):
            refused += [str(one) for one in self.siblings] + self.unreadable
        if refused:
            key = "data.refer.allow_leakage: true"
            if not self.own:
                key += " (or, for other data sets alone, data.refer.allow_sibling_leakage: true)"
            raise UserError(
                "\n  ".join(
                    [f"{name} trains on photographs that are evaluated on:", *refused]
                    + [f"all are listed in {listing}; to train nevertheless set {key}"]
                )
            )
        if found:
            log.warning(
                "%s trains on photographs that are evaluated on; the config allows it; listed in"
                " %s:\n  %s",
                name,
                listing,
                "\n  ".join(found),
            )
        else:
            log.info("%s: no photograph of training is evaluated on in the family", name)


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


def audit(data_root: Path, dataset: str, split_by: str, refs: Iterable[Ref]) -> Audit:
    """Compare the study's `refs` with its own splits and with the other refs files in `data_root`."""
    splits = by_split(dataset, refs)
    trained = splits.get(TRAIN, set())
    made = Audit(dataset, split_by, len(trained), own=_shared(trained, dataset, split_by, splits))
    for path in sorted(data_root.glob("*/refs(*).p")):
        other = re.fullmatch(r"refs\((.*)\)\.p", path.name)
        if other is None or (path.parent.name, other[1]) == (dataset, split_by):
            continue
        try:
            sibling = by_split(path.parent.name, read_refs(path, Rejected()))
        except UserError as error:
            made.unreadable.append(f"not audited: {error}")
            continue
        made.siblings += _shared(trained, path.parent.name, other[1], sibling)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m camground.data.leakage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--dataset", required=True, help="folder in it, such as refcoco")
    parser.add_argument("--split-by", required=True, help="of refs(<split-by>).p, such as unc")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    given = parser.parse_args(arguments)
    path = refs_path(given.data_root / given.dataset, given.split_by)
    refs = read_refs(path, Rejected())
    made = audit(given.data_root, given.dataset, given.split_by, refs)
    made.write(given.output)
    made.settle(False, False, given.output)


if __name__ == "__main__":
    stage.run("leakage", lambda: main(sys.argv[1:]))
