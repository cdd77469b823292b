"""How many refs and expressions the published data sets of REFER have, and whether these are them.

Numbers on another set than the published one cannot stand beside the published ones: a file that
broke off, or a copy with other splits, shows here. Sources: REFER's README and the papers of the data
sets; refs are the referred objects, an expression is one sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from camground.data.readers.refer_files import Ref
from camground.study.errors import UserError
from camground.study.progress import log

# (dataset, split_by): refs of each split, and its expressions where they are known
EXPECTED: dict[tuple[str, str], dict[str, tuple[int, int | None]]] = {
    ("refcoco", "unc"): {
        "train": (42404, 120624),
        "val": (3811, 10834),
        "testA": (1975, 5657),
        "testB": (1810, 5095),
    },
    ("refcoco+", "unc"): {
        "train": (42278, 120191),
        "val": (3805, 10758),
        "testA": (1975, 5726),
        "testB": (1798, 4889),
    },
    ("refcocog", "umd"): {"train": (42226, 80512), "val": (2573, 4896), "test": (5023, 9602)},
    ("refcocog", "google"): {"train": (44822, None), "val": (5000, None)},
}


@dataclass
class Counts:
    """Refs and expressions by split."""

    refs: Counter[str]
    expressions: Counter[str]

    @classmethod
    def of(cls, refs: Iterable[Ref]) -> Counts:
        """Counts of `refs`; a sentence without a word counts too, though it cannot be used."""
        made = cls(Counter(), Counter())
        for ref in refs:
            made.refs[ref.split] += 1
            made.expressions[ref.split] += len(ref.sentences)
        return made


def published(dataset: str, split_by: str) -> bool:
    """Whether there are published numbers of this set; says so where there are none."""
    if (dataset, split_by) not in EXPECTED:
        log.warning("%s(%s): no published counts to compare with", dataset, split_by)
    return (dataset, split_by) in EXPECTED


def differences(dataset: str, split_by: str, found: Counts) -> list[str]:
    """One line for every number that is not the published one."""
    expected = EXPECTED[dataset, split_by]
    lines = []
    for split in [*expected, *sorted(found.refs.keys() - expected.keys())]:
        refs, expressions = expected.get(split, (0, 0))
        for what, wanted, had in (
            ("refs", refs, found.refs[split]),
            ("expressions", expressions, found.expressions[split]),
        ):
            if wanted is not None and wanted != had:
                lines.append(
                    f"  {split} {what}: {wanted} published, {had} here ({had - wanted:+d})"
                )
    return lines


def check(dataset: str, split_by: str, found: Counts, what: str) -> None:
    """Compare with the published numbers. what: what was counted, for the message.

    Raises:
        UserError: a number differs; the message lists all that do.
    """
    lines = differences(dataset, split_by, found)
    if lines:
        raise UserError(
            "\n".join(
                [
                    f"{dataset}({split_by}), {what}: not the published data set:",
                    *lines,
                    "Fewer: the file broke off, or rows of it were rejected (see the lines above);"
                    " other splits: another copy of the data. Get it again, or, for a subset whose"
                    " numbers are not to be compared with published ones, set"
                    " data.refer.check_counts: false.",
                ]
            )
        )
    log.info("%s(%s), %s: refs and expressions are the published ones", dataset, split_by, what)
