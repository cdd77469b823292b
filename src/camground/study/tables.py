"""Every Parquet table that passes between stages: its version, and how it is read and written.

A file carries its table's name and version; reading a file of another table, version or schema raises
`UserError`. Writing is atomic: a file under its final name is whole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from camground.study.errors import UserError, storage_error
from camground.study.progress import log
from camground.study.schemas import SCHEMAS

VERSION = "1"
REVISED = {"proposals": "2", "predictions": "2", "expressions": "2"}  # tables that have changed since
Rows: TypeAlias = "pd.DataFrame | pa.Table | Iterable[dict[str, Any]]"


def schema(name: str) -> pa.Schema:
    """The schema of table `name` with its name and version in the metadata."""
    return SCHEMAS[name].with_metadata({"camground.table": name, "camground.version": version(name)})


def version(name: str) -> str:
    """The version of table `name` that this code writes and reads."""
    return REVISED.get(name, VERSION)


def to_arrow(name: str, rows: Rows) -> pa.Table:
    """`rows` as an Arrow table of `name`'s schema; `UserError` when columns, types or nulls are off."""
    table_schema = schema(name)
    if isinstance(rows, pa.Table):
        columns = {column: rows.column(column) for column in rows.column_names}
    elif isinstance(rows, pd.DataFrame):
        columns = {str(column): rows[column].tolist() for column in rows.columns}
    else:
        listed = list(rows)
        keys = list(listed[0]) if listed else table_schema.names
        columns = {key: [row.get(key) for row in listed] for key in keys}
    missing = [column for column in table_schema.names if column not in columns]
    extra = [column for column in columns if column not in table_schema.names]
    if missing or extra:
        raise UserError(f"table {name}: missing columns {missing}, unknown columns {extra}")
    arrays = []
    for field in table_schema:
        values = columns[field.name]
        try:
            if isinstance(values, pa.ChunkedArray):
                array = values.cast(field.type)
            else:
                array = pa.chunked_array([pa.array(values, type=field.type, from_pandas=True)])
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise UserError(f"table {name}, column {field.name}: {error}") from None
        if array.null_count and not field.nullable:
            raise UserError(f"table {name}, column {field.name}: {array.null_count} null values")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=table_schema)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without an error.

    Its name is always the same, so what a killed process left is used again; who finds it in use by a live
    process waits. Write to it, do not replace it. `UserError` where the disk is full or the folder closed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(temporary)
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except Exception as error:
        if storage := storage_error(error, path):
            raise storage from None
        raise
    finally:
        if handle is not None:
            os.close(handle)


def _locked(path: Path) -> int:
    """The empty file `path`, open and locked until it is closed; the kernel unlocks a dead process's."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        # some network file systems have no locks: there, two writers of one file are not kept apart
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("waiting for another process, which is writing %s", path)
                fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(handle), path.stat()):
                os.ftruncate(handle, 0)
                return handle
        except FileNotFoundError:
            pass
        # who held it has given it its final name since it was opened
        os.close(handle)


def write(name: str, rows: Rows, path: str | Path) -> None:
    """Write `rows` as table `name` to `path`, atomically."""
    table = to_arrow(name, rows)
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@contextmanager
def writer(name: str, path: str | Path) -> Iterator[Callable[[Rows], None]]:
    """What appends rows to table `name`, each time a row group (memory does not grow), atomically."""
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema(name), compression="zstd") as parquet:
        yield lambda rows: parquet.write_table(to_arrow(name, rows))


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """`UserError` for a damaged file that is read in the block."""
    try:
        yield
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of what is on it
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a readable Parquet file ({reason}); delete it and rerun") from None


def _checked(name: str, path: str | Path) -> pq.ParquetFile:
    try:
        with _readable(path):
            parquet = pq.ParquetFile(path)
            metadata = parquet.schema_arrow.metadata or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the stage that writes `{name}` has not run") from None
    table = metadata.get(b"camground.table", b"?").decode(errors="replace")
    found = metadata.get(b"camground.version", b"?").decode(errors="replace")
    if table != name:
        raise UserError(f"{path}: holds table `{table}`, not `{name}`")
    if found != version(name) or not parquet.schema_arrow.equals(SCHEMAS[name]):
        raise UserError(
            f"{path}: table `{name}` of version {found} or another schema; this code reads version"
            f" {version(name)}; delete it and rerun the stage that writes it"
        )
    return parquet


def read_arrow(name: str, path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read table `name`, checking its name, version and schema."""
    with _checked(name, path) as parquet, _readable(path):
        table = parquet.read(columns=columns)
        table.validate(full=True)
        return table


def read(name: str, path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """`read_arrow` as a DataFrame."""
    return cast(pd.DataFrame, read_arrow(name, path, columns).to_pandas())


def batches(name: str, path: str | Path, size: int = 1024) -> Iterator[pd.DataFrame]:
    """Iterate over table `name` in DataFrames of at most `size` rows."""
    with _checked(name, path) as parquet, _readable(path):
        for batch in parquet.iter_batches(batch_size=size):
            batch.validate(full=True)
            yield batch.to_pandas()


def image_paths(images_table: str | Path) -> list[Path]:
    """Where the photographs of an `images` table lie, in its order."""
    paths = read("images", images_table, ["path"])["path"]
    return [image_path(images_table, path) for path in paths]


def image_path(images_table: str | Path, path: str) -> Path:
    """The file of a photograph: `path` of the `images` table is relative to the table's folder."""
    return Path(images_table).parent / path
