"""Bring data sets here: download, check and unpack sources of the table, or say what to do by hand.

A source that the hub has too is taken from there, unless its archive is here already; `hub` says how.

Below the root: `downloads/` holds the archives, `lock.json` (size, digest and address of what was first
downloaded where the table knows no sha256; later downloads must have the same) and a receipt per
source, written last. Archives may be deleted once they are unpacked; data that is already in its folder
is taken as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from camground.data.download.hub import Unsuitable, take_photographs
from camground.data.download.sources import Source, Sources, downloads
from camground.data.download.transfer import Expected, Patience, digest, mismatch, transfer
from camground.data.download.unpack import Refused, archive_problem, refuse_taken, unpack
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.tables import atomic

LOCK_TABLE = "lock.json"


def fetch_all(names: Iterable[str], dataset: str | None, root: Path, table: Sources) -> None:
    """Fetch the named sources, and those that `dataset` needs, one after the other."""
    needed = table.needed(dataset) if dataset else ()
    if dataset and not needed:
        raise UserError(f"no data set {dataset!r}; there are {', '.join(table.sets)}")
    sources = [table[name] for name in dict.fromkeys([*names, *needed])]
    if not sources:
        raise UserError("name a source, or a data set with --dataset; --list prints them")
    for source in sources:
        fetch(source, root)


def listing(table: Sources) -> str:
    """The table as text for a reader."""
    lines = []
    for source in table.sources.values():
        size = f"{source.bytes:,} bytes" if source.bytes else "size unknown"
        address = source.addresses[0] if source.addresses else "by hand"
        if source.hub:
            address = f"data set {source.hub.repository} of the Hugging Face hub; else {address}"
        checked = ", ".join(source.digests) or "trusted on first use"
        detail = f"    {address} ({size}; {checked})"
        lines += [f"{source.name}: {source.what}", detail, f"    licence: {source.licence}"]
    sets = (f"{name}: {' '.join(members)}" for name, members in table.sets.items())
    return "\n".join([*lines, "", "Data sets:", *sets])


def fetch(source: Source, root: Path, patience: Patience | None = None) -> Path:
    """See to it that `source` is in its folder below `root`; returns the receipt's path.

    `UserError` when it cannot be had, is not what it was the first time, or must be fetched by hand.
    """
    folder = downloads(root)
    folder.mkdir(parents=True, exist_ok=True)
    receipt = folder / f"{source.name}.json"
    with FileLock(folder / f".{source.name}.lock"):
        if source.is_complete(root):
            log.info("%s: already in %s", source.name, source.target(root))
        else:
            _bring(source, root, patience)
        # what a receipt says is the same each time, so that nothing downstream looks changed
        _write_json(receipt, {"source": source.name, "folder": source.folder, "proof": source.proof})
    return receipt


def _bring(source: Source, root: Path, patience: Patience | None) -> None:
    file, target = source.download(root), source.target(root)
    if source.hub and not file.exists():
        refuse_taken(target, source.proof, f"{source.hub.repository} of the hub")
        try:
            take_photographs(source.hub, downloads(root) / f"{source.name}-hub", target)
            return
        except Unsuitable as reason:
            otherwise = "its addresses are tried" if source.addresses else "it is to be fetched by hand"
            hub = f"{source.hub.repository} of the hub"
            log.warning("%s: %s is not used: %s; %s", source.name, hub, reason, otherwise)
    # what was first downloaded stands in for a sha256 that the table lacks
    locked = {} if source.sha256 else _lock_table(root).get(source.name, {})
    digests = source.digests | ({"sha256": locked["sha256"]} if locked else {})
    problem_of = archive_problem if source.unpack else lambda path: None
    expected = Expected(source.bytes or locked.get("bytes"), digests, problem_of)
    lock_advice = ""
    if locked:
        lock_advice = (
            f"\n  if the file is known to have changed for good, delete {source.name!r} from"
            f" {downloads(root) / LOCK_TABLE}, which holds what was first downloaded"
        )
    address = None
    if file.exists():
        if problem := mismatch(file, expected):
            raise UserError(f"{file}: {problem}; move it away to have it downloaded again{lock_advice}")
    elif not source.addresses:
        advice = (source.by_hand or "").format(archive=file, folder=target)
        raise UserError(f"{source.name} ({source.what}) is not in {target}. {advice}")
    else:
        try:
            address = transfer(source.addresses, file, expected, patience)
        except UserError as error:
            hint = "run again to go on; or put the file there by hand, and run again"
            raise UserError(f"{error}\n  {hint}{lock_advice}") from None
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error}") from None
    if source.unpack:
        try:
            unpack(file, target, source.proof, source.top, source.shared)
        except Refused as error:
            if address is None:
                raise
            file.unlink()
            raise UserError(f"{error}; it came from {address} and was deleted") from None
    # only now, or a bad archive would be the one that later ones are compared with
    if not source.sha256:
        _remember(source, root, file, address)


def _lock_table(root: Path) -> dict[str, dict[str, Any]]:
    path = downloads(root) / LOCK_TABLE
    if not path.exists():
        return {}
    try:
        table: dict[str, dict[str, Any]] = json.loads(path.read_text())
        for row in table.values():
            _ = row["sha256"], row["bytes"]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a readable lock table ({error!r}); mend it, or delete it to trust"
            " the next downloads anew"
        ) from None
    return table


def _remember(source: Source, root: Path, file: Path, address: str | None) -> None:
    """Enter the file into the lock table, if it is not there as it is; `address` None: put by hand."""
    path = downloads(root) / LOCK_TABLE
    row = {"file": source.file, "bytes": file.stat().st_size, "sha256": digest(file)}
    with FileLock(path.with_name(f".{LOCK_TABLE}.lock")):
        table = _lock_table(root)
        if row.items() <= table.get(source.name, {}).items():
            return
        day = time.strftime("%Y-%m-%d", time.gmtime())
        table[source.name] = {**row, "address": address, "first_seen": day}
        _write_json(path, dict(sorted(table.items())))
    if not source.digests:
        log.info("%s: no digest is known, so this one is kept: sha256 %s", source.name, row["sha256"])


def _write_json(path: Path, content: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
