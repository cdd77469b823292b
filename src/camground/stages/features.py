"""Stage `features`: run the frozen backbone and language encoder once and cache what they say.

Every variant and seed trains on this cache, so a run costs the heads alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from camground.data.photographs import read_square
from camground.features.backbone import Backbone, BackboneConfig
from camground.features.language import LanguageConfig, LanguageEncoder
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log, track
from camground.study.sections import parse

FLOAT16 = np.lib.format.dtype_to_descr(np.dtype(np.float16))


@dataclass(frozen=True)
class FeaturesConfig:
    """`precision` of the frozen passes: float32, or bfloat16 (about 3 times faster on recent CPUs)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    batch_size: int = 32
    precision: str = "float32"


class _Photographs(torch.utils.data.Dataset):
    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return read_square(self.paths[index], self.size)


def cache_visual(config: FeaturesConfig, images: Path, folder: Path, threads: int) -> list[int]:
    """Write `visual.npy` for every row of the `images` table; returns its shape."""
    table = tables.read("images", images)
    if table.empty:
        raise UserError(f"{images}: no images; check the data stage")
    paths = [tables.image_path(images, path) for path in table["path"]]
    backbone = Backbone(config.backbone).to(memory_format=torch.channels_last)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone.to(device)
    shape = (len(paths), backbone.channels, backbone.grid, backbone.grid)
    loader = torch.utils.data.DataLoader(
        _Photographs(paths, config.backbone.image_size),  # type: ignore[arg-type]
        batch_size=config.batch_size,
        num_workers=min(2, threads) if len(paths) > 500 else 0,
    )
    start = 0
    with tables.atomic(folder / "visual.npy") as temporary:
        visual = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        for batch in track(loader, "visual features (batches)"):
            batch = batch.to(device).float().contiguous(memory_format=torch.channels_last)
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"),
            ):
                found = backbone(batch)
            visual[start : start + len(batch)] = found.cpu().to(torch.float16).numpy()
            start += len(batch)
        visual.flush()
        del visual
    return list(shape)


@contextmanager
def appended(path: Path, width: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Write `path` as .npy batch by batch, atomically; memory does not grow with it.

    Yields what appends rows (n, width) float16. The bytes are those of np.save of all rows at once:
    numpy leaves room in the header for another number of rows, so the true one is put in at the end.
    """
    rows = 0

    def header() -> int:
        """Write it at the file's start; returns its length in bytes."""
        content = {"descr": FLOAT16, "fortran_order": False, "shape": (rows, width)}
        handle.seek(0)
        np.lib.format.write_array_header_1_0(handle, content)
        return handle.tell()

    def append(batch: np.ndarray) -> None:
        nonlocal rows
        if batch.dtype != np.float16 or batch.shape[1:] != (width,):
            raise ValueError(f"{path}: rows of {width} float16, not {batch.shape} {batch.dtype}")
        batch.tofile(handle)
        rows += len(batch)

    with tables.atomic(path) as temporary, temporary.open("wb") as handle:
        reserved = header()
        yield append
        if header() != reserved:
            raise RuntimeError(f"{path}: numpy {np.__version__} left no room in the header")


def cache_language(config: FeaturesConfig, expressions: Path, folder: Path) -> int:
    """Write `tokens.npy` and `texts.parquet` for the distinct texts; returns the tokens' width."""
    found = set(tables.read("expressions", expressions, ["text"])["text"])
    # by text too: a set's own order differs between runs, and with it the batches and their rounding
    texts = sorted(found, key=lambda text: (len(text), text))
    if not texts:
        raise UserError(f"{expressions}: no expressions; check the data stage")
    encoder = LanguageEncoder(config.language)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device)
    lengths: list[int] = []
    size = 4 * config.batch_size
    with appended(folder / "tokens.npy", encoder.width) as append:
        # sorted by length, so that a batch has little padding
        for start in track(range(0, len(texts), size), "language features (batches)"):
            with torch.autocast(
                device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
            ):
                hidden, mask = encoder(texts[start : start + size])
            append(hidden[mask].float().cpu().numpy().astype(np.float16))
            lengths += mask.sum(1).tolist()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()
    rows = [
        {"text": text, "start": start, "length": length}
        for text, start, length in zip(texts, starts, lengths, strict=True)
    ]
    tables.write("texts", rows, folder / "texts.parquet")
    return encoder.width


def main() -> None:
    arguments = stage.parser("features", __doc__)
    arguments.add_argument("--images", type=Path, required=True)
    arguments.add_argument("--expressions", type=Path, required=True)
    arguments.add_argument("--output-dir", type=Path, required=True)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    config = parse(FeaturesConfig, stage.read_config(given.config)["features"])
    torch.set_num_threads(given.threads)
    shape = cache_visual(config, given.images, given.output_dir, given.threads)
    width = cache_language(config, given.expressions, given.output_dir)
    meta = {"config": asdict(config), "visual": shape, "text_width": width}
    with tables.atomic(given.output_dir / "features.json") as temporary:
        temporary.write_text(json.dumps(meta, indent=1))
    log.info("visual features %s, text width %d", shape, width)


if __name__ == "__main__":
    stage.run("features", main)
