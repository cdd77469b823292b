"""Writing the table `proposals`: the candidate boxes of every image of a study."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from camground.proposals.config import ProposalsConfig
from camground.proposals.methods import METHODS
from camground.proposals.proposer import Photograph, open_proposer
from camground.proposals.thinning import Proposals
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import track

ROW_GROUP = 256  # images whose proposals are written at a time


def write_proposals(
    config: ProposalsConfig,
    images: Path,
    output: Path,
    method_tables: Mapping[str, Path | None],
    threads: int,
) -> None:
    """Write the table for the images of the table `images`, in their order.

    method_tables: paths of tables that some methods write beside this one, None where not named. Raises
    `UserError` where these are not the method's own, and as the method does.
    """
    named = {name: path for name, path in method_tables.items() if path is not None}
    method = METHODS[config.method]
    wanted = {*method.writes}
    if named.keys() != wanted:
        missing, others = sorted(wanted - named.keys()), sorted(named.keys() - wanted)
        advice = [f"give {' and '.join(f'--{name}' for name in missing)}"] if missing else []
        advice += [f"leave out {' and '.join(f'--{name}' for name in others)}"] if others else []
        raise UserError(f"proposals.method is {config.method}: {', and '.join(advice)}")
    photographs = [
        Photograph(row["image_id"], row["path"], (row["width"], row["height"]), images.parent)
        for row in tables.read_arrow("images", images).to_pylist()
    ]
    proposals = open_proposer(config, named, threads).propose(photographs)
    done = track(zip(photographs, proposals, strict=True), "proposals", len(photographs))
    with tables.writer("proposals", output) as append:
        while group := list(islice(done, ROW_GROUP)):
            append([row for pair in group for row in _rows(*pair)])


def _rows(photograph: Photograph, proposals: Proposals) -> list[dict[str, Any]]:
    """Rows of the table, best first."""
    boxes, scores = proposals.boxes_xyxy.tolist(), proposals.objectness.tolist()
    return [
        {
            "image_id": photograph.image_id,
            "rank": rank,
            "box_xyxy": box,
            "objectness": objectness,
            "source": source,
            "label": label,
        }
        for rank, (box, objectness, source, label) in enumerate(
            zip(boxes, scores, proposals.sources, proposals.labels, strict=True)
        )
    ]
