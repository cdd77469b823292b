"""Stage `predict`: ground every phrase of the evaluated splits with a trained grounder, and score
their word swaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from camground.data.pairs import Pairs
from camground.grounder.batch_grounding import (
    erased_scores,
    ground_batch,
    load_grounder,
    open_store,
)
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.box_voting import VotingConfig, vote
from camground.grounder.swap_scores import chunks, swap_rows
from camground.matcher.maps import to_bytes
from camground.study import stage, tables
from camground.study.progress import log, track
from camground.study.sections import parse
from camground.training.loop import device, load_checkpoint, prepare
from camground.training.objective import LossesConfig


@dataclass(frozen=True)
class PredictConfig:
    """`splits` whose phrases are grounded; `batch_size` counts expressions; `voting`: how the answer's box
    follows from the proposals' scores."""

    splits: list[str] = field(default_factory=lambda: ["val", "test"])
    batch_size: int = 64
    voting: VotingConfig = field(default_factory=VotingConfig)


def main() -> None:
    arguments = stage.parser("predict", __doc__)
    for name in ("images", "expressions", "proposals", "cams", "features", "checkpoint"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    for name, table in (("output", "predictions"), ("swaps", "swap_scores")):
        arguments.add_argument(f"--{name}", type=Path, required=True, help=f"output: {table}")
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    config = parse(PredictConfig, stage.read_config(given.config)["predict"])
    prepare(0, given.threads)
    where = device()
    saved, state = load_checkpoint(given.checkpoint)
    store = open_store(saved, state, given.features, given.images, where)
    model = load_grounder(saved, state, store).to(where)
    losses = parse(LossesConfig, saved["losses"])
    proposals = ProposalTable(given.images, given.proposals)
    image_ids = tables.read("images", given.images, ["image_id"])["image_id"].tolist()
    bare = 0
    with (
        tables.writer("predictions", given.output) as output,
        tables.writer("swap_scores", given.swaps) as swapped,
    ):
        for split in config.splits:
            pairs = Pairs(given.images, given.expressions, split, ["phrase"])
            threshold = losses.distillation.threshold
            control = model.config.cam_encoder.control
            data = GroundingData(pairs, store, proposals, given.cams, threshold, control)
            batches = list(pairs.in_order(config.batch_size))
            for indices in track(batches, f"grounding {split} (batches)"):
                batch = data.load(indices, where)
                looked = ground_batch(model, batch)
                left = erased_scores(model, losses, batch, looked.cam).cpu().numpy()
                image = looked.first.image_logit.detach().sigmoid().cpu().numpy()
                best, chosen = (part.cpu().numpy() for part in looked.scores.max(-1))
                of_image = proposals.boxes.shape[1]
                voted = vote(config.voting, looked.proposals, looked.scores, of_image)
                boxes = voted.cpu().numpy()
                cam = looked.cam / looked.cam.amax((1, 2), keepdim=True).clamp(min=1e-9)
                maps = cam.cpu().numpy()
                rows = []
                for place, expression in enumerate(indices.expressions):
                    if not np.isfinite(best[place]):
                        bare += 1  # no proposal, so nothing to choose
                        continue
                    image_row = pairs.image_rows[expression]
                    size = np.tile(proposals.sizes[image_row], 2)
                    # beyond the image's proposals stand the boxes of the expression's own map
                    rank = int(chosen[place])
                    rows.append(
                        {
                            "expression_id": pairs.expression_ids[expression],
                            "rank": rank if rank < of_image else -1,
                            "box_xyxy": (boxes[place] * size).tolist(),
                            "score": float(best[place]),
                            "cam_height": maps.shape[1],
                            "cam_width": maps.shape[2],
                            "cam": to_bytes(maps[place]),
                            "image_score": float(image[place]),
                            "erased_score": float(left[place]),
                        }
                    )
                if rows:
                    output.append(rows)
            for which in track(list(chunks(pairs, config.batch_size)), f"swaps of {split}"):
                swapped.append(swap_rows(model, pairs, store, proposals, image_ids, which, where))
    if bare:
        log.info("%d expressions of images without proposals get no prediction", bare)


if __name__ == "__main__":
    stage.run("predict", main)
