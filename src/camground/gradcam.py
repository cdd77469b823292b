"""Stage `gradcam`: the matcher's Grad-CAM for every (image, expression), as the `cams` table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from camground import stage, tables
from camground.feature_store import FeatureStore
from camground.matcher import load_matcher
from camground.matching.gradcam import TRUNK, MatcherCam
from camground.pairs import Pairs
from camground.progress import track
from camground.sections import parse
from camground.training import device, prepare


@dataclass(frozen=True)
class GradcamConfig:
    """`method`: see `matching.gradcam.METHODS`. `layer`: a module of the matcher, "trunk" or deeper.

    `kinds`: the kinds of expressions that get a map. `batch_size` counts expressions.
    """

    method: str = "gradcam"
    layer: str = TRUNK
    kinds: list[str] = field(default_factory=lambda: ["phrase"])
    batch_size: int = 128


def to_bytes(cam: np.ndarray) -> bytes:
    """A map (H, W) in [0, 1] as the `cams` table holds it: one byte a cell, row-major."""
    return np.rint(np.clip(cam, 0, 1) * 255).astype(np.uint8).tobytes()


def main() -> None:
    arguments = stage.parser("gradcam", __doc__)
    arguments.add_argument("--images", type=Path, required=True)
    arguments.add_argument("--expressions", type=Path, required=True)
    arguments.add_argument("--features", type=Path, required=True)
    arguments.add_argument("--matcher", type=Path, required=True)
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    config = parse(GradcamConfig, stage.read_config(given.config)["gradcam"])
    prepare(0, given.threads)
    store = FeatureStore(given.features)
    matcher, _ = load_matcher(given.matcher, store)
    where = device()
    matcher.to(where)
    source = f"{config.method}:{config.layer}"
    with (
        tables.writer("cams", given.output) as output,
        MatcherCam(matcher, config.method, config.layer) as cam,
    ):
        for split in ("train", "val", "test"):
            pairs = Pairs(given.images, given.expressions, split, config.kinds)
            batches = list(pairs.in_order(config.batch_size))
            for batch in track(batches, f"Grad-CAM of {split} (batches)"):
                tokens, mask = store.texts([pairs.texts[row] for row in batch.expressions])
                maps = cam(
                    store.images(batch.images).to(where),
                    torch.from_numpy(batch.owner).to(where),
                    tokens.to(where),
                    mask.to(where),
                )
                output.append(
                    [
                        {
                            "expression_id": pairs.expression_ids[row],
                            "height": found.shape[0],
                            "width": found.shape[1],
                            "map": to_bytes(found),
                            "source": source,
                        }
                        for row, found in zip(batch.expressions, maps, strict=True)
                    ]
                )


if __name__ == "__main__":
    stage.run("gradcam", main)
