"""Writing the table `cams`: the Grad-CAM of every phrase on its image, from any source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camground.data.pairs import PairBatch, Pairs
from camground.features.store import FeatureStore
from camground.matcher.cam import OwnNetworks, open_cam
from camground.matcher.cam_sources import SOURCES
from camground.matcher.config import GradcamConfig
from camground.matcher.maps import to_bytes
from camground.matcher.matcher import load_matcher
from camground.study import tables
from camground.study.ahead import map_ahead
from camground.study.devices import prepare_torch
from camground.study.errors import UserError
from camground.study.progress import log, track
from camground.study.schemas import SPLITS

AHEAD = 2  # batches whose images are read while the model works on one


def write_cams(
    config: GradcamConfig,
    images: Path,
    expressions: Path,
    output: Path,
    features: Path | None = None,
    matcher: Path | None = None,
    threads: int = 1,
) -> None:
    """Write the table of the phrases of the table `expressions`, of all splits.

    features, matcher: the feature cache and the matcher's checkpoint, of a source that reads features; the
    photographs of the table `images` are for the others.
    """
    device = prepare_torch(threads)
    own, store = None, None
    if SOURCES[config.source].reads == "features":
        if features is None or matcher is None:
            raise UserError(f"gradcam.source: {config.source} needs --features and --matcher")
        store = FeatureStore(features)
        own = OwnNetworks(load_matcher(matcher), store.texts)
    paths = tables.image_paths(images)
    with open_cam(config, device, own) as cam, tables.writer("cams", output) as append:
        log.info("%s on %s", cam.name, device)

        def read(rows: np.ndarray) -> Tensor:
            if store is not None:
                return store.images(rows)
            return torch.stack([cam.read(paths[row]) for row in rows])

        for split in SPLITS:
            pairs = Pairs(images, expressions, split, ["phrase"])
            batches = list(pairs.in_order(config.batch_size))
            if not batches:
                continue
            inputs = map_ahead(read, [batch.images for batch in batches], AHEAD)
            work = zip(batches, inputs, strict=True)
            for batch, seen in track(work, f"Grad-CAM of {split} (batches)", len(batches)):
                texts = [pairs.texts[row] for row in batch.expressions]
                maps = cam(seen, torch.from_numpy(batch.owner), texts)
                append(_rows(pairs, batch, maps, cam.name))


def _rows(pairs: Pairs, batch: PairBatch, maps: np.ndarray, source: str) -> list[dict[str, Any]]:
    """Rows of the table: maps (M, h, w) of the batch's M expressions."""
    height, width = maps.shape[1:]
    ids = [pairs.expression_ids[row] for row in batch.expressions]
    return [
        {
            "expression_id": expression_id,
            "height": height,
            "width": width,
            "map": to_bytes(each),
            "source": source,
        }
        for expression_id, each in zip(ids, maps, strict=True)
    ]
