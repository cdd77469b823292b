"""Stage `proposals`: write the table proposals, the candidate boxes of every image."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camground import stage

# Worker processes import this file again, so what it needs itself is imported where it is needed.
if TYPE_CHECKING:
    import pandas as pd

    from camground.proposals.selective_search import Proposals
    from camground.proposals.settings import Settings

    Found = Iterable[tuple[str, Proposals]]

BATCH = 16  # images a process takes at a time
ROW_GROUP = 256  # images whose proposals are written at a time


def main(arguments: Sequence[str] | None = None) -> None:
    """See `camground.proposals.selective_search` and `camground.proposals.ground_truth`."""
    parser = stage.parser("proposals", __doc__)
    parser.add_argument("--images", type=Path, required=True, help="table `images` to read")
    parser.add_argument("--output", type=Path, required=True, help="table `proposals` to write")
    parser.add_argument("--threads", type=int, default=1, help="processes")
    only = "; only for proposals.method ground_truth"
    parser.add_argument("--targets", type=Path, help=f"table `targets` to read{only}")
    parser.add_argument("--expressions", type=Path, help=f"table `expressions` to read{only}")
    options = parser.parse_args(arguments)

    from camground.errors import UserError
    from camground.proposals.settings import read

    settings = read(stage.read_config(options.config))
    given = (options.targets, options.expressions)
    if settings.method == "ground_truth":
        if None in given:
            raise UserError(
                "proposals.method ground_truth takes its boxes from the targets: give --targets and"
                " --expressions, or set proposals.method to selective_search"
            )
        found = _true_boxes(options.images, *given)
    elif given != (None, None):
        raise UserError("--targets and --expressions go with proposals.method ground_truth alone")
    else:
        found = _searched(settings, options.images, max(1, options.threads))
    _write(found, options.images, options.output)


def _searched(settings: Settings, images: Path, processes: int) -> Found:
    """Image ids and their proposals, in the order of the table `images`."""
    from camground import tables
    from camground.proposals.workers import Picture, propose_all

    def pictures() -> Iterator[list[Picture]]:
        for rows in tables.batches("images", images, BATCH):
            yield [
                Picture(tables.image_path(images, path), size) for _, path, size in _listed(rows)
            ]

    names = tables.batches("images", images, BATCH)
    for rows, batch in zip(names, propose_all(pictures(), settings, processes), strict=True):
        yield from zip(rows["image_id"].astype(str), batch, strict=True)


def _listed(rows: pd.DataFrame) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """image_id, path, and width and height of rows of the table `images`."""
    sizes = zip(rows["width"].tolist(), rows["height"].tolist(), strict=True)
    return zip(rows["image_id"].tolist(), rows["path"].tolist(), sizes, strict=True)


def _true_boxes(images: Path, targets: Path, expressions: Path) -> Found:
    """Image ids and the boxes of their objects, in the order of the table `images`."""
    from camground import tables
    from camground.proposals.ground_truth import propose, read_objects

    objects = read_objects(targets, expressions)
    for rows in tables.batches("images", images):
        for image_id, _, size in _listed(rows):
            yield image_id, propose(objects.get(image_id), size)


def _write(found: Found, images: Path, output: Path) -> None:
    from camground import tables
    from camground.progress import track

    total = tables.read_arrow("images", images, columns=["split"]).num_rows
    with tables.writer("proposals", output) as table:
        rows: list[dict] = []
        for done, (image_id, proposals) in enumerate(track(found, "proposals", total), start=1):
            rows += [
                {
                    "image_id": image_id,
                    "rank": rank,
                    "box_xyxy": box,
                    "objectness": objectness,
                    "source": source,
                }
                for rank, (box, objectness, source) in enumerate(
                    zip(
                        proposals.boxes_xyxy.tolist(),
                        proposals.objectness.tolist(),
                        proposals.sources,
                        strict=True,
                    )
                )
            ]
            if done % ROW_GROUP == 0 or done == total:
                table.append(rows)
                rows = []


if __name__ == "__main__":
    stage.run("proposals", lambda: main(sys.argv[1:]))
