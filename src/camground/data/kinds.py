"""From a kind of data to its tables: what every kind is given, and the rows that it writes.

A kind is a section of `DataConfig`; the module that the section names has the function

    write(config: DataConfig, data_root: Path, outputs: Outputs) -> None

which writes images, expressions, targets (for evaluation alone) and rejected rows, and the pictures of a
kind that makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from camground.data.config import DataConfig
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.schemas import SCHEMAS, SPLITS

Row = dict[str, Any]
UNMEASURED = (
    "no phrase has a box, so nothing is measured: the study ends in a model, its boxes and pictures of them,"
    " and the tables of results stay empty"
)
# Photographs with a phrase that train and val need: one alone has no negatives.
FEWEST = 2
# Rows of a table that are written at a time: memory does not grow with the data set.
ROW_GROUP = 1024


@dataclass(frozen=True)
class Outputs:
    """The files to write; `pictures` is the folder of a kind that makes its pictures."""

    images: Path
    expressions: Path
    targets: Path
    rejected: Path
    pictures: Path | None = None


def write_data(config: DataConfig, data_root: str | Path | None, outputs: Outputs) -> None:
    """Write the data set that `config` describes. Raises `UserError`: no folder for pictures or photographs,
    or what the kind's own reader refuses."""
    kind, section = config.kind, config.chosen
    root = Path(data_root or "").absolute()
    if section.makes_pictures and outputs.pictures is None:
        raise UserError(f"data.kind is {kind}: give --pictures, the folder for its pictures")
    if not section.makes_pictures and not (data_root and root.is_dir()):
        problem = f"no folder {root}" if data_root else "is not set"
        raise UserError(f"data_root: {problem}; data.kind is {kind}, so set it to the data's folder")
    import_module(section.full_module()).write(config, root, outputs)


def _row(table: str, **values: Any) -> Row:
    """A row of a table, with null for the columns that are not given (see `study.schemas`)."""
    return dict.fromkeys(SCHEMAS[table].names) | values


def image_row(image_id: str, path: Path | str, size: tuple[int, int], split: str) -> Row:
    """A row of `images`. path: absolute, or relative to the table's folder. size: width, height."""
    width, height = size
    values = {"image_id": image_id, "path": str(path), "width": width, "height": height}
    return _row("images", **values, split=split)


def expression_row(expression_id: str, image_id: str, text: str, kind: str, split: str, **swap: Any) -> Row:
    """A row of `expressions`. kind: "phrase", "sentence", or "swap", which has further columns. `boxed` is
    filled in where the row is added with its targets."""
    values = {"expression_id": expression_id, "image_id": image_id, "text": text, "kind": kind}
    return _row("expressions", **values, split=split, **swap)


def mark_boxed(expressions: list[Row], targets: list[Row]) -> None:
    """Fill in `boxed` of the phrases among some photographs' `expressions`, of which `targets` are all."""
    known = {row["expression_id"] for row in targets}
    for row in expressions:
        if row["kind"] == "phrase":
            row["boxed"] = row["expression_id"] in known


def target_row(expression_id: str, boxes_xyxy: list[Any], **columns: Any) -> Row:
    """A row of `targets`, pixels. columns: the further ones, as far as they are known."""
    return _row("targets", expression_id=expression_id, boxes_xyxy=boxes_xyxy, **columns)


class DataTables:
    """The tables images, expressions and targets while they are written; see `data_tables`."""

    def __init__(self, writers: dict[str, Callable[[tables.Rows], None]]) -> None:
        self._writers = writers
        self._waiting: dict[str, list[Row]] = {name: [] for name in writers}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._trainable: Counter[str] = Counter()

    def add(self, image: Row, expressions: list[Row], targets: list[Row]) -> None:
        """One photograph with its expressions and their targets; written in groups of ROW_GROUP rows."""
        mark_boxed(expressions, targets)
        self._trainable.update({row["split"] for row in expressions if row["kind"] == "phrase"})
        for name, rows in zip(self._writers, ([image], expressions, targets), strict=True):
            waiting = self._waiting[name]
            waiting += rows
            while len(waiting) >= ROW_GROUP:
                self.append(name, waiting[:ROW_GROUP])
                del waiting[:ROW_GROUP]

    def check_trainable(self, what: str, advice: str) -> None:
        """`UserError` where fewer than `FEWEST` of the added photographs have a phrase of train, or of val:
        the trainings would refuse them. what: the file or folder that names them, and its key."""
        for split in ("train", "val"):
            if self._trainable[split] < FEWEST:
                raise UserError(
                    f"{what}: {self._trainable[split]} usable photographs of split {split} have a phrase, and"
                    f" training needs at least {FEWEST}; {advice}"
                )

    def append(self, name: str, rows: list[Row]) -> None:
        """Rows of one table, written at once as a row group."""
        if rows:
            self._writers[name](rows)
        self._counts.update((row.get("split", ""), row.get("kind", name)) for row in rows)

    def finish(self) -> None:
        """Write what waits, and log how much there is of each split."""
        for name, rows in self._waiting.items():
            self.append(name, rows)
        for split in SPLITS:
            if self._counts[split, "images"]:
                kinds = (self._counts[split, kind] for kind in ("images", "sentence", "phrase"))
                log.info("%s: %d photographs, %d sentences, %d phrases", split, *kinds)
        if boxes := self._counts["", "targets"]:
            log.info("phrases with boxes: %d", boxes)
        else:
            log.warning("WARNING: %s", UNMEASURED)


@contextmanager
def data_tables(outputs: Outputs) -> Iterator[DataTables]:
    """The three tables, whole under their names when the block ends without an error."""
    with ExitStack() as stack:
        paths = {name: getattr(outputs, name) for name in ("images", "expressions", "targets")}
        writers = {name: stack.enter_context(tables.writer(name, path)) for name, path in paths.items()}
        opened = DataTables(writers)
        yield opened
        opened.finish()
