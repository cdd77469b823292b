"""Stage `proposals`: write the table proposals, the candidate boxes of every image."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camground.study import stage

# Worker processes import this file again, so what it needs itself is imported where it is needed.
if TYPE_CHECKING:
    import pandas as pd

    from camground.proposals.settings import Settings
    from camground.proposals.thinning import Proposals

    Found = Iterable[tuple[str, Proposals]]

BATCH = 16  # images a process takes at a time
ROW_GROUP = 256  # images whose proposals are written at a time


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module of each method: `selective_search`, `ground_truth`, `detectors`, `boxes_file`."""
    parser = stage.parser("proposals", __doc__)
    parser.add_argument("--images", type=Path, required=True, help="table `images` to read")
    parser.add_argument("--output", type=Path, required=True, help="table `proposals` to write")
    parser.add_argument(
        "--threads", type=int, default=1, help="processes, or threads of a detector"
    )
    for name, method, what in (
        ("targets", "ground_truth", "to read"),
        ("expressions", "ground_truth", "to read"),
        ("rejected", "boxes_file", "to write"),
    ):
        text = f"table `{name}` {what}; only for proposals.method {method}"
        parser.add_argument(f"--{name}", type=Path, help=text)
    options = parser.parse_args(arguments)

    from camground.proposals.settings import read
    from camground.study.errors import UserError

    settings = read(stage.read_config(options.config))
    method, threads = settings.method, max(1, options.threads)
    given = (options.targets, options.expressions)
    if method != "ground_truth" and given != (None, None):
        raise UserError("--targets and --expressions go with proposals.method ground_truth alone")
    if method != "boxes_file" and options.rejected is not None:
        raise UserError("--rejected goes with proposals.method boxes_file alone")
    if method == "ground_truth":
        if None in given:
            raise UserError(
                "proposals.method ground_truth takes its boxes from the targets: give --targets and"
                " --expressions, or set proposals.method to selective_search"
            )
        found = _true_boxes(options.images, *given)
    elif method == "boxes_file":
        if options.rejected is None:
            raise UserError("proposals.method boxes_file lists what it cannot use: give --rejected")
        found = _from_file(settings, options.images, options.rejected)
    elif method == "detector":
        found = _detected(settings, options.images, threads)
    else:
        found = _searched(settings, options.images, threads)
    _write(found, options.images, options.output)


def _searched(settings: Settings, images: Path, processes: int) -> Found:
    """Image ids and their proposals, in the order of the table `images`."""
    from camground.proposals.workers import Picture, propose_all
    from camground.study import tables

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
    from camground.proposals.ground_truth import propose, read_objects
    from camground.study import tables

    objects = read_objects(targets, expressions)
    for rows in tables.batches("images", images):
        for image_id, _, size in _listed(rows):
            yield image_id, propose(objects.get(image_id), size)


def _detected(settings: Settings, images: Path, threads: int) -> Found:
    """Image ids and what the detector finds, in the order of the table `images`."""
    import torch

    from camground.proposals.detection import propose_all
    from camground.proposals.detectors import open_detector
    from camground.proposals.workers import Picture
    from camground.study import tables
    from camground.study.progress import log

    assert settings.detector is not None  # `read` has seen to it
    torch.set_num_threads(threads)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    detector = open_detector(settings.detector, where)
    log.info("%s on %s", detector.source, where)
    listed = [one for rows in tables.batches("images", images) for one in _listed(rows)]
    pictures = (Picture(tables.image_path(images, path), size) for _, path, size in listed)
    names = (str(image_id) for image_id, _, _ in listed)
    yield from zip(names, propose_all(pictures, detector, settings, threads), strict=True)


def _from_file(settings: Settings, images: Path, rejected: Path) -> Found:
    """Image ids and the boxes of the file of detections, in the order of the table `images`."""
    from camground.proposals.boxes_file import read_boxes
    from camground.proposals.file_images import StudyImage
    from camground.proposals.thinning import propose_found
    from camground.study import tables

    assert settings.boxes_file is not None  # `read` has seen to it
    listed = [
        StudyImage(image_id, path, *size)
        for rows in tables.batches("images", images)
        for image_id, path, size in _listed(rows)
    ]
    boxes = read_boxes(settings.boxes_file, listed, rejected)
    for one in listed:
        size = (one.width, one.height)
        found = propose_found(*boxes.of(one.image_id), boxes.source, settings, size)
        yield one.image_id, found


def _write(found: Found, images: Path, output: Path) -> None:
    from camground.study import tables
    from camground.study.progress import track

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
