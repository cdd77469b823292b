"""How many refs and expressions the published data sets of REFER have, and whether these are them.

Numbers on another set than the published one cannot stand beside the published ones: a file that
broke off, or a copy with other splits, shows here. Sources: REFER's README and the papers of the data
sets; refs are the referred objects, an expression is one sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from camground.data.readers.refer_files import Ref
from camground.study.errors import UserError
from camground.study.progress import log

# (dataset, split_by): refs of each split, and its expressions where they are known
PUBLISHED: dict[tuple[str, str], dict[str, tuple[int, int | None]]] = {
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
ADVICE = (
    "Fewer: the file broke off, or rows of it were rejected (see the lines above); other splits: another"
    " copy of the data. Get it again, or, for a subset whose numbers are not to be compared with published"
    " ones, set data.refer.check_counts: false."
)


def differences(dataset: str, split_by: str, refs: Iterable[Ref]) -> list[str]:
    """One line for every number that is not the published one. A sentence without a word counts too,
    though it is unusable."""
    published = PUBLISHED[dataset, split_by]
    counts: Counter[tuple[str, str]] = Counter()
    for ref in refs:
        counts[ref.split, "refs"] += 1
        counts[ref.split, "expressions"] += len(ref.sentences)
    return [
        f"  {split} {unit}: {expected} published, {count} here ({count - expected:+d})"
        for split in dict.fromkeys([*published, *sorted(split for split, _ in counts)])
        for unit, expected in zip(("refs", "expressions"), published.get(split, (0, 0)), strict=True)
        if expected is not None and expected != (count := counts[split, unit])
    ]


def check_counts(dataset: str, split_by: str, refs: Iterable[Ref], stage: str) -> None:
    """Compare with the published numbers, if there are any. stage: which refs these are, for the message.

    Raises:
        UserError: a number differs; the message lists all that do.
    """
    name = f"{dataset}({split_by})"
    if (dataset, split_by) not in PUBLISHED:
        log.warning("%s: no published counts to compare with", name)
    elif lines := differences(dataset, split_by, refs):
        raise UserError("\n".join([f"{name}, {stage}: not the published data set:", *lines, ADVICE]))
    else:
        log.info("%s, %s: refs and expressions are the published ones", name, stage)
