"""The photographs of a data set on the Hugging Face hub, as the folder of files that the readers take.

The one in the table is lmms-lab/flickr30k, read of in stored copies of its pages: by its card and its list
of files at the table's commit (README.md and data/ of https://huggingface.co/datasets/lmms-lab/flickr30k at
0d6d904) it is nine Parquet files, data/test-00000-of-00009.parquet and on, of 4,409,506,758 bytes and 31,783
rows, with the columns `image`, `caption`, `sentids`, `img_id` and `filename`. An `image` is a struct of
`bytes` and `path`, as the library datasets stores its type Image. That `filename` is the name in the
publishers' archive is what programs that read nlphuji/flickr30k, which has the same columns, take it for.
No row of the hub's has been seen here, so each is checked; captions and ids are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from camground.data.download.sources import Hub
from camground.data.download.unpack import fresh_folder
from camground.study.errors import storage_error
from camground.study.progress import log, track

COLUMNS = ["image", "filename"]
# Rows held in memory at once; a photograph of Flickr30k has about 140 kB.
BATCH = 64
PHOTOGRAPH = re.compile(r"\w[\w-]*\.jpg", re.ASCII)
JPEG = b"\xff\xd8\xff"


class Unsuitable(Exception):
    """The hub's photographs cannot be had, or are not those that are meant; the message says why."""


def take_photographs(hub: Hub, cache: Path, folder: Path) -> None:
    """Download the data set into `cache`, going on where that broke off; its photographs into `folder`.

    `folder`, which is empty or not there, takes its name once as many photographs as the table says are in
    it. Raises `Unsuitable`, and `UserError` where the disk is full.
    """
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(
            hub.repository,
            repo_type="dataset",
            revision=hub.revision,
            allow_patterns=hub.files,
            local_dir=cache,
        )
    except Exception as error:  # the hub's client and the HTTP library below it have no common one
        if storage := storage_error(error, cache):
            raise storage from None
        raise Unsuitable(str(error).partition("\n")[0] or type(error).__name__) from None
    try:
        with fresh_folder(folder) as inner:
            rows = _rows(sorted(cache.glob(hub.files)))
            count = 0
            for name, content in track(rows, f"photographs of {hub.repository}", total=hub.photographs):
                _write(inner, name, content)
                count += 1
            if count != hub.photographs:
                raise Unsuitable(f"it has {count:,} photographs, not {hub.photographs:,}")
            inner.replace(folder)
    except (OSError, pa.ArrowException) as error:
        if storage := storage_error(error, folder):
            raise storage from None
        raise Unsuitable(f"its files in {cache} cannot be read: {error}; delete them to try again") from None
    log.info("%s of the hub: %d photographs in %s", hub.repository, count, folder)


def _rows(files: list[Path]) -> Iterator[tuple[object, object]]:
    """Name and bytes of each photograph in the Parquet files, not checked."""
    for path in files:
        with pq.ParquetFile(path) as table:
            if missing := [name for name in COLUMNS if name not in table.schema_arrow.names]:
                raise Unsuitable(f"{path} has no column {', '.join(missing)}")
            for batch in table.iter_batches(BATCH, columns=COLUMNS):
                for row in batch.to_pylist():
                    image = row["image"]
                    yield row["filename"], image.get("bytes") if isinstance(image, dict) else None


def _write(folder: Path, name: object, content: object) -> None:
    if not isinstance(name, str) or not PHOTOGRAPH.fullmatch(name):
        raise Unsuitable(f"{name!r} is no name of a photograph, such as 1000092795.jpg")
    if not isinstance(content, bytes) or not content.startswith(JPEG):
        raise Unsuitable(f"its {name} is no JPEG")
    try:
        with (folder / name).open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise Unsuitable(f"its {name} comes twice") from None
