"""Stage `predict`: ground every phrase of the val and test splits with a trained grounder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from camground import stage, tables
from camground.batch_grounding import erased_scores, ground_batch, load_grounder
from camground.feature_store import FeatureStore
from camground.gradcam import to_bytes
from camground.grounding_data import CamTable, GroundingData, ProposalTable
from camground.losses.objective import LossesConfig
from camground.pairs import Pairs
from camground.progress import log, track
from camground.sections import parse
from camground.training import device, load_checkpoint, prepare


@dataclass(frozen=True)
class PredictConfig:
    """`splits` whose phrases are grounded; `batch_size` counts expressions."""

    splits: list[str] = field(default_factory=lambda: ["val", "test"])
    batch_size: int = 64


def main() -> None:
    arguments = stage.parser("predict", __doc__)
    for name in ("images", "expressions", "proposals", "cams", "features", "checkpoint", "output"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    config = parse(PredictConfig, stage.read_config(given.config)["predict"])
    prepare(0, given.threads)
    where = device()
    store = FeatureStore(given.features)
    saved, state = load_checkpoint(given.checkpoint)
    model = load_grounder(saved, state, store).to(where)
    losses = parse(LossesConfig, saved["losses"])
    proposals = ProposalTable(given.images, given.proposals)
    bare = 0
    with tables.writer("predictions", given.output) as output:
        for split in config.splits:
            pairs = Pairs(given.images, given.expressions, split, ["phrase"])
            cams = CamTable(given.cams, pairs.expression_ids, losses.distillation.threshold)
            data = GroundingData(pairs, store, proposals, cams)
            batches = list(pairs.in_order(config.batch_size))
            for indices in track(batches, f"grounding {split} (batches)"):
                batch = data.load(indices, where)
                grounded, cam, scores = ground_batch(model, batch)
                left = erased_scores(model, losses, batch, cam).cpu().numpy()
                image = grounded.image_logit.detach().sigmoid().cpu().numpy()
                best, chosen = (part.cpu().numpy() for part in scores.max(-1))
                maps = (cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-9)).cpu().numpy()
                rows = []
                for place, expression in enumerate(indices.expressions):
                    if not np.isfinite(best[place]):
                        bare += 1  # no proposal, so nothing to choose
                        continue
                    image_row = pairs.image_rows[expression]
                    size = np.tile(proposals.sizes[image_row], 2)
                    rows.append(
                        {
                            "expression_id": pairs.expression_ids[expression],
                            "rank": int(chosen[place]),
                            "box_xyxy": (proposals.boxes[image_row, chosen[place]] * size).tolist(),
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
    if bare:
        log.info("%d expressions of images without proposals get no prediction", bare)


if __name__ == "__main__":
    stage.run("predict", main)
