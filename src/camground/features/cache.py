"""Writing the feature cache: the frozen backbone and language encoder run once over images and texts.

Every variant and seed trains on this cache, so a training costs the grounder alone; `features.store` reads
it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from camground.data.photographs import read_square
from camground.features.backbone import Backbone
from camground.features.config import FeaturesConfig
from camground.features.language import LanguageEncoder
from camground.study import tables
from camground.study.ahead import map_ahead
from camground.study.devices import autocast, use_threads
from camground.study.errors import UserError
from camground.study.progress import log, track

Item = TypeVar("Item")

FEW_IMAGES = 500  # that are read sooner than a process to read them has started


class _Photographs(Dataset[torch.Tensor]):
    """Photographs (3, size, size) uint8, by row."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        return read_square(self.paths[row], self.size)


def write_features(
    config: FeaturesConfig, images: Path, expressions: Path, folder: Path, threads: int
) -> None:
    """Write the cache of the tables `images` and `expressions` into `folder`."""
    device = use_threads(1)
    shape = write_visual(config, images, folder, threads, device)
    width = write_tokens(config, expressions, folder, threads, device)
    meta = {"config": config.to_dict(), "visual": shape, "text_width": width}
    with tables.atomic(folder / "features.json") as temporary:
        temporary.write_text(json.dumps(meta, indent=1))
    log.info("visual features %s, text width %d", shape, width)


def write_visual(
    config: FeaturesConfig, images: Path, folder: Path, threads: int, device: torch.device
) -> list[int]:
    """Write `visual.npy`, float16, for every row of the table `images`; returns its shape."""
    paths = tables.image_paths(images)
    if not paths:
        raise UserError(f"{images}: no images; check the data stage")
    backbone = Backbone(config.backbone).to(memory_format=torch.channels_last).to(device)
    loader = DataLoader(
        _Photographs(paths, config.backbone.image_size),
        batch_size=config.batch_size,
        num_workers=min(2, threads) if len(paths) > FEW_IMAGES else 0,
    )

    def seen(batch: torch.Tensor) -> np.ndarray:
        batch = batch.to(device).float().contiguous(memory_format=torch.channels_last)
        with autocast(config.precision, device):
            levels: np.ndarray = backbone(batch).cpu().to(torch.float16).numpy()
        return levels

    shape = (len(paths), backbone.channels, backbone.grid, backbone.grid)
    start = 0
    with _new_array(folder / "visual.npy", shape) as visual:
        work = _side_by_side(seen, loader, threads, device)
        for levels in track(work, "visual features (batches)", len(loader)):
            visual[start : start + len(levels)] = levels
            start += len(levels)
    return list(shape)


def write_tokens(
    config: FeaturesConfig, expressions: Path, folder: Path, threads: int, device: torch.device
) -> int:
    """Write `tokens.npy`, float16, and `texts.parquet` of the distinct texts; returns the tokens' width."""
    distinct = set(tables.read("expressions", expressions, ["text"])["text"])
    # by length, so that a batch has little padding; then by text: a set's own order differs between runs, and
    # with it the batches and their rounding
    texts = sorted(distinct, key=lambda text: (len(text), text))
    if not texts:
        raise UserError(f"{expressions}: no expressions; check the data stage")
    encoder = LanguageEncoder(config.language).to(device)
    size = 4 * config.batch_size
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    lengths = [length for batch in batches for length in encoder.token_counts(batch)]
    stops = np.cumsum(lengths)

    def read(tokenised: tuple[Any, torch.Tensor]) -> np.ndarray:
        with autocast(config.precision, device):
            hidden, mask = encoder.read(*tokenised)
        kept: np.ndarray = hidden[mask].float().cpu().numpy().astype(np.float16)
        return kept

    start = 0
    with _new_array(folder / "tokens.npy", (int(stops[-1]), encoder.width)) as tokens:
        # here, for a tokenizer serves one thread at a time
        tokenised = (encoder.tokenise(batch) for batch in batches)
        work = _side_by_side(read, tokenised, threads, device)
        for kept in track(work, "language features (batches)", len(batches)):
            tokens[start : start + len(kept)] = kept
            start += len(kept)
    rows = [
        {"text": text, "start": stop - length, "length": length}
        for text, stop, length in zip(texts, stops.tolist(), lengths, strict=True)
    ]
    tables.write("texts", rows, folder / "texts.parquet")
    return encoder.width


def _side_by_side(
    function: Callable[[Item], np.ndarray], items: Iterable[Item], threads: int, device: torch.device
) -> Iterator[np.ndarray]:
    """`function` of each item, in order: several items at a time, each on one thread.

    A layer that is split over threads may round differently, so that their number would change the bytes.
    """

    def on_one(item: Item) -> np.ndarray:
        torch.set_num_threads(1)
        with torch.inference_mode():
            return function(item)

    count = threads if device.type == "cpu" else 1
    return map_ahead(on_one, items, count + 1, count)


@contextmanager
def _new_array(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A float16 array that becomes the file `path` when the block ends without an error.

    It is a memory map, so memory does not grow with it. Its room is reserved at the start: a page
    that finds none later ends the process with SIGBUS and not a word.
    """
    with tables.atomic(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        yield array
        array.flush()
