"""Bring data sets here: download, check and unpack sources of the table, or say what to do by hand.

    python -m camground.data.fetch --list
    python -m camground.data.fetch --dataset refcoco           all that a data set needs
    python -m camground.data.fetch --root data coco_train2014  one source
    python -m camground.data.fetch --sources mirrors.yaml ...  from other addresses

Below the root: `downloads/` holds the archives, `lock.json` (size, digest and address of what was first
downloaded where the table knows no sha256; later downloads must have the same) and a receipt per
source, written last. Archives may be
deleted once they are unpacked; data that is already in its folder is taken as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from camground.data.download.download import Patience, Wanted, digests, download, wrong
from camground.data.download.sources import TABLE, Source, Sources, downloads, read_sources
from camground.data.download.unpack import Limits, Refused, problem, unpack
from camground.study import stage
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.tables import atomic

LOCK_TABLE = "lock.json"


def fetch(
    source: Source, root: Path, patience: Patience | None = None, limits: Limits | None = None
) -> Path:
    """See to it that `source` is in its folder below `root`; returns the receipt's path.

    `UserError` when it cannot be had, is not what it was the first time, or must be fetched by hand.
    """
    folder = downloads(root)
    folder.mkdir(parents=True, exist_ok=True)
    receipt = folder / f"{source.name}.json"
    with FileLock(folder / f".{source.name}.lock"):
        if source.is_there(root):
            log.info("%s: already in %s", source.name, source.place(root))
        else:
            _bring(source, root, patience, limits)
        # what a receipt says is the same each time, so that nothing downstream looks changed
        _write_json(
            receipt, {"source": source.name, "folder": source.folder, "proof": source.proof}
        )
    return receipt


def _bring(source: Source, root: Path, patience: Patience | None, limits: Limits | None) -> None:
    file, place = source.download(root), source.place(root)
    wanted = _wanted(source, root)
    if file.exists():
        differs = wrong(file, wanted)
        if differs:
            raise UserError(
                f"{file}: {differs}; move it away to have it downloaded again"
                + _first_seen(source, root)
            )
        address = None
    elif not source.addresses:
        said = (source.by_hand or "").format(archive=file, folder=place)
        raise UserError(f"{source.name} ({source.what}) is not in {place}. {said}")
    else:
        try:
            address = download(source.addresses, file, wanted, patience)
        except UserError as error:
            raise UserError(
                f"{error}\n  run again to go on; or put the file there by hand, and run again"
                + _first_seen(source, root)
            ) from None
        except OSError as error:
            raise UserError(f"{file}: cannot be written: {error}") from None
    if source.unpack:
        try:
            unpack(file, place, source.proof, source.top, source.shared, limits)
        except Refused as error:
            if address is None:
                raise
            file.unlink()
            raise UserError(f"{error}; it came from {address} and was deleted") from None
    # only now, or a bad archive would be the one that later ones are compared with
    if not source.sha256:
        _remember(source, root, file, address)


def _wanted(source: Source, root: Path) -> Wanted:
    """The table's size and digests, and where it has no sha256, those of the first download."""
    known = dict(source.digests)
    size = source.bytes
    first = _lock_table(root).get(source.name)
    if first and "sha256" not in known:
        known["sha256"] = first["sha256"]
        size = size or first["bytes"]
    return Wanted(size, known, problem if source.unpack else lambda path: None)


def _first_seen(source: Source, root: Path) -> str:
    """What to do where the lock table may be what stands in the way."""
    if source.sha256 or source.name not in _lock_table(root):
        return ""
    return (
        f"\n  if the file is known to have changed for good, delete {source.name!r} from"
        f" {downloads(root) / LOCK_TABLE}, which holds what was first downloaded"
    )


def _lock_table(root: Path) -> dict[str, dict[str, Any]]:
    path = downloads(root) / LOCK_TABLE
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_text())
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
    row = {"file": source.file, "bytes": file.stat().st_size, **digests(file)}
    with FileLock(path.with_name(f".{LOCK_TABLE}.lock")):
        table = _lock_table(root)
        known = table.get(source.name, {})
        if all(known.get(key) == value for key, value in row.items()):
            return
        day = time.strftime("%Y-%m-%d", time.gmtime())
        table[source.name] = {**row, "address": address, "first_seen": day}
        _write_json(path, dict(sorted(table.items())))
    if not source.digests:
        log.info(
            "%s: no digest is known, so this one is kept: sha256 %s", source.name, row["sha256"]
        )


def _write_json(path: Path, content: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _listing(table: Sources) -> str:
    lines = []
    for source in table.sources.values():
        size = f"{source.bytes:,} bytes" if source.bytes else "size unknown"
        how = "by hand" if not source.addresses else source.addresses[0]
        checked = ", ".join(source.digests) or "trusted on first use"
        lines += [f"{source.name}: {source.what}", f"    {how} ({size}; {checked})"]
        lines += [f"    licence: {source.licence}"]
    sets = [f"{name}: {' '.join(members)}" for name, members in table.sets.items()]
    return "\n".join([*lines, "", "Data sets:", *sets])


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the named sources one after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m camground.data.fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="sources of the table")
    parser.add_argument("--dataset", help="a data set: all sources that it needs")
    parser.add_argument("--root", type=Path, default=Path("data"), help="root of the data (data)")
    parser.add_argument(
        "--sources",
        type=Path,
        default=os.environ.get("CAMGROUND_SOURCES") or TABLE,
        help="a table of mirrors, laid over the own; default: the variable CAMGROUND_SOURCES",
    )
    parser.add_argument("--list", action="store_true", help="print the table and end")
    options = parser.parse_args(arguments)
    table = read_sources(options.sources)
    if options.list:
        print(_listing(table))
        return
    needed = table.needed(options.dataset) if options.dataset else ()
    if options.dataset and not needed:
        raise UserError(f"no data set {options.dataset!r}; there are {', '.join(table.sets)}")
    names = dict.fromkeys([*options.names, *needed])
    if not names:
        raise UserError("name a source, or a data set with --dataset; --list prints them")
    for source in [table[name] for name in names]:
        fetch(source, options.root)


if __name__ == "__main__":
    stage.run("fetch", lambda: main(sys.argv[1:]))
