"""The cache of frozen backbone and language features, memory-mapped, so memory does not grow with it.

A folder with `visual.npy` (images, C, H, W) float16 in the order of the `images` table, `tokens.npy`
(tokens, width) float16 of all distinct texts end to end, `texts.parquet` (where each text's tokens
lie) and `features.json` (the config and the shapes).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camground.features.config import FeaturesConfig
from camground.features.language import LanguageEncoder, text_vectors
from camground.study import tables
from camground.study.errors import UserError


class FeatureStore:
    """Read access by image index and by text."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        try:
            self.meta = json.loads((folder / "features.json").read_text())
            self.visual = np.load(folder / "visual.npy", mmap_mode="r")
            self._tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        # NumPy reads the head of a damaged file as Python, with whatever error that raises
        except Exception as error:
            raise UserError(f"{folder}: not a whole feature cache ({error}); rerun `features`") from None
        texts = tables.read("texts", folder / "texts.parquet")
        stops = texts["start"] + texts["length"]
        fits = isinstance(self.meta, dict) and "config" in self.meta
        fits &= self.visual.ndim == 4 and self._tokens.ndim == 2 and stops.max() <= len(self._tokens)
        if not fits:
            raise UserError(f"{folder}: its files do not fit together; rerun `features`")
        spans = zip(texts["start"].tolist(), stops.tolist(), strict=True)
        self._spans = dict(zip(texts["text"], spans, strict=True))
        self._vectors: dict[str, Tensor] = {}

    @property
    def visual_channels(self) -> int:
        return int(self.visual.shape[1])

    @property
    def grid(self) -> tuple[int, int]:
        return int(self.visual.shape[2]), int(self.visual.shape[3])

    @property
    def text_width(self) -> int:
        return int(self._tokens.shape[1])

    def images(self, indices: np.ndarray | list[int]) -> Tensor:
        """Features (B, C, H, W) float32 of the images at these rows of the `images` table."""
        return torch.from_numpy(np.stack([self.visual[int(i)] for i in indices]).astype(np.float32))

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token vectors (B, T, width) float32, zero beyond a text's end, and mask (B, T) bool."""
        try:
            spans = [self._spans[text] for text in texts]
        except KeyError as error:
            raise UserError(f"no cached features for the text {error}; rerun `features`") from None
        longest = max((stop - start for start, stop in spans), default=1)
        tokens = np.zeros((len(texts), longest, self.text_width), dtype=np.float32)
        mask = np.zeros((len(texts), longest), dtype=bool)
        for row, (start, stop) in enumerate(spans):
            tokens[row, : stop - start] = self._tokens[start:stop]
            mask[row, : stop - start] = True
        return torch.from_numpy(tokens), torch.from_numpy(mask)

    def vectors(self, texts: list[str]) -> Tensor:
        """`text_vectors` (M, width) float32 of texts that are not in the cache, a detector's labels; by the
        encoder that the cache was made with, which reads each text once."""
        new = [text for text in texts if text not in self._vectors]
        if new:
            config = FeaturesConfig.parse(self.meta["config"], "features")
            # what is drawn while it loads is to change nothing
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                vectors = text_vectors(*LanguageEncoder(config.language)(new))
            self._vectors.update(zip(new, vectors, strict=True))
        return torch.stack([self._vectors[text] for text in texts])
