"""A folder of small photographs with captions and boxes, and the data stage's run on it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from data_stage import rejected, run_data, table


class Folder:
    """A folder of small photographs under `root`, and the stage's run on it."""

    def __init__(self, root: Path, captioned: int = 10, boxed: int = 3) -> None:
        self.root, self.out = root / "photos", root / "out"
        (self.root / "images").mkdir(parents=True)
        self.captions = [["image", "caption"]]
        self.phrases = [["image", "phrase", "x", "y", "width", "height"]]
        for number in range(captioned):
            self.photograph(f"train{number}.jpg")
            self.captions.append([f"train{number}.jpg", "A brown dog runs on the grass ."])
            self.captions.append([f"train{number}.jpg", "The brown dog in a red coat ."])
        for number in range(boxed):
            self.photograph(f"test{number}.png")
            self.phrases.append([f"test{number}.png", "red ball", "1", "2", "10", "12.5"])

    def photograph(self, name: str, width: int = 40, height: int = 30) -> Path:
        noise = np.random.default_rng(len(name)).integers(0, 255, (height, width, 3))
        path = self.root / "images" / name
        Image.fromarray(noise.astype(np.uint8)).save(path)
        return path

    def table(self, name: str) -> pd.DataFrame:
        return table(self.out, name)

    def run(self, share: float = 0.0, write: bool = True, **folder: object) -> None:
        if write:
            for name, rows in (("captions", self.captions), ("phrases", self.phrases)):
                with (self.root / f"{name}.csv").open("w", newline="") as stream:
                    csv.writer(stream).writerows(rows)
        keys = {"val_share": 0.2, "min_phrase_count": 1} | folder
        run_data(self.out, "folder", self.root, share, **keys)

    def rejected(self) -> list[tuple[str, int, str]]:
        return [(file, row, reason) for file, row, _, reason in rejected(self.out)]
