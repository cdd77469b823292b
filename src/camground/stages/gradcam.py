"""Stage `gradcam`: the Grad-CAM of every (image, expression), as the `cams` table.

Of the study's own matcher, from the feature cache; or of a pretrained vision-language model
(`gradcam.source`), from the photographs, with the grid of that model.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from camground.data.pairs import PairBatch as Batch
from camground.data.pairs import Pairs
from camground.features.store import FeatureStore
from camground.matcher.gradcam import MatcherCam
from camground.matcher.loading import load_matcher
from camground.matcher.maps import to_bytes
from camground.matcher.pretrained import PretrainedConfig, open_pretrained
from camground.matcher.pretrained_cam import PretrainedCam
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log, track
from camground.study.schemas import SPLITS
from camground.study.sections import parse
from camground.training.loop import best_device as device
from camground.training.loop import prepare


@dataclass(frozen=True)
class GradcamConfig(PretrainedConfig):
    """`method`: see `matching.gradcam.METHODS`. `layer`: a module of the matcher, "trunk" or deeper.

    `kinds`: the kinds of expressions that get a map. `batch_size` counts expressions. The keys of
    `PretrainedConfig` choose another source than the matcher, for which `method` and `layer` mean nothing.
    """

    method: str = "gradcam"
    layer: str = "trunk"
    kinds: list[str] = field(default_factory=lambda: ["phrase"])
    batch_size: int = 128


def batches_of(
    config: GradcamConfig, images: Path, expressions: Path
) -> Iterator[tuple[Pairs, list[Batch], str]]:
    """Of each split that has such expressions the pairs, their batches and what to call the work."""
    for split in SPLITS:
        pairs = Pairs(images, expressions, split, config.kinds)
        if len(pairs):
            yield pairs, list(pairs.in_order(config.batch_size)), f"Grad-CAM of {split} (batches)"


def rows_of(pairs: Pairs, batch: Batch, maps: np.ndarray, source: str) -> list[dict]:
    """Rows of the `cams` table: maps (M, H, W) of the batch's M expressions."""
    return [
        {
            "expression_id": pairs.expression_ids[row],
            "height": found.shape[0],
            "width": found.shape[1],
            "map": to_bytes(found),
            "source": source,
        }
        for row, found in zip(batch.expressions, maps, strict=True)
    ]


def write_matcher_cams(
    config: GradcamConfig, images: Path, expressions: Path, features: Path, matcher: Path, out: Path
) -> None:
    """The `cams` table of the study's own matcher."""
    store = FeatureStore(features)
    model = load_matcher(matcher)
    where = device()
    model.to(where)
    source = f"{config.method}:trunk"
    with (
        tables.writer("cams", out) as output,
        MatcherCam(model, config.method) as cam,
    ):
        for pairs, batches, label in batches_of(config, images, expressions):
            for batch in track(batches, label):
                tokens, mask = store.texts([pairs.texts[row] for row in batch.expressions])
                maps = cam(
                    store.images(batch.images).to(where),
                    torch.from_numpy(batch.owner).to(where),
                    tokens.to(where),
                    mask.to(where),
                )
                output.append(rows_of(pairs, batch, maps, source))


def pictures_ahead(
    cam: PretrainedCam, paths: list[Path], batches: list[Batch]
) -> Iterator[torch.Tensor]:
    """Of each batch in turn its photographs (B, 3, H, W) float32 as the model sees them; a thread reads
    the next batch's while the model works on this one's."""

    def read(batch: Batch) -> torch.Tensor:
        return torch.stack([cam.picture(paths[row]) for row in batch.images])

    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(read, batch) for batch in batches[:1]]
        for following in [*batches[1:], None]:
            if not coming:
                return
            here = coming.pop().result()
            if following is not None:
                coming.append(pool.submit(read, following))
            yield here


def write_pretrained_cams(
    config: GradcamConfig, images: Path, expressions: Path, out: Path
) -> None:
    """The `cams` table of a pretrained model."""
    paths = [tables.image_path(images, path) for path in tables.read("images", images)["path"]]
    with open_pretrained(config, device()) as cam, tables.writer("cams", out) as output:
        log.info("%s; photographs as %d x %d, maps of %d x %d", cam.source, *cam.size, *cam.grid)
        for pairs, batches, label in batches_of(config, images, expressions):
            seen = zip(batches, pictures_ahead(cam, paths, batches), strict=True)
            for batch, pictures in track(seen, label, len(batches)):
                texts = [pairs.texts[row] for row in batch.expressions]
                maps = cam(pictures, torch.from_numpy(batch.owner), texts)
                output.append(rows_of(pairs, batch, maps, cam.source))


def main() -> None:
    arguments = stage.parser("gradcam", __doc__)
    arguments.add_argument("--images", type=Path, required=True)
    arguments.add_argument("--expressions", type=Path, required=True)
    for name in ("features", "matcher"):
        arguments.add_argument(f"--{name}", type=Path, help="needed by gradcam.source: matcher")
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    config = parse(GradcamConfig, stage.read_config(given.config)["gradcam"])
    prepare(0, given.threads)
    if config.source != "matcher":
        write_pretrained_cams(config, given.images, given.expressions, given.output)
    elif given.features is None or given.matcher is None:
        raise UserError("gradcam.source: matcher needs --features and --matcher")
    else:
        write_matcher_cams(
            config, given.images, given.expressions, given.features, given.matcher, given.output
        )


if __name__ == "__main__":
    stage.run("gradcam", main)
