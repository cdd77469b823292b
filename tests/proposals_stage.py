"""Running the stage `proposals` on a few images, and reading what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from camground.stages.proposals import proposals
from camground.study import tables


def write_images(folder: Path, sizes: dict[str, tuple[int, int]], above: str = "") -> Path:
    """The table `images` in `folder`: width and height by image_id; a path is that with `above` before it."""
    rows = [
        {"image_id": name, "path": above + name, "width": width, "height": height, "split": "train"}
        for name, (width, height) in sizes.items()
    ]
    tables.write("images", rows, folder / "images.parquet")
    return folder / "images.parquet"


def run_proposals(images: Path, config: dict[str, Any], threads: int = 1, **named: Path) -> pd.DataFrame:
    """The table that the stage writes beside `images`; named: other tables that it reads or writes."""
    output = images.with_name("proposals.parquet")
    proposals(json.dumps({"proposals": config}), images, output, threads=threads, **named)
    return tables.read("proposals", output)


def boxes_of(table: pd.DataFrame, image_id: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Boxes (K, 4), objectness (K,) and sources of an image, in the table's order."""
    rows = table[table["image_id"] == image_id]
    boxes = np.stack(rows["box_xyxy"].tolist())
    return boxes, rows["objectness"].to_numpy(), rows["source"].tolist()


def labels_of(table: pd.DataFrame) -> list[str | None]:
    """The labels of the table's rows; pandas has NaN for none."""
    return [None if pd.isna(label) else label for label in table["label"]]
