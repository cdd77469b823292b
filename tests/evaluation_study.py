"""A small made-up study as tables on disk, for tests of `evaluate`, `baselines`, `ablation`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from camground.study import tables

EVALUATE: dict[str, Any] = {
    "splits": ["val", "test"],
    "iou_comparison": ">=",
    "legacy_iou": False,
    "multiple_boxes": "any_box",
    "map_side": 256,
    "map_threshold": 0.5,
    "size_edges": [0.05, 0.2],
    "word_edges": [2, 4],
}
BASELINES: dict[str, Any] = {
    "rng_seed": 0,
    "whole_image_share": 0.95,
    "centre": {"side": 0.7},
    "gradcam_ranking": {"area_exponent": 0.5},
    "gradcam_box": {"threshold": 0.5, "component": "largest"},
}
ABLATION: dict[str, Any] = {"reference": "full", "split": "test", "resamples": 200, "rng_seed": 0}
WIDTH, HEIGHT, CELLS = 96, 64, 12


def random_box(random: np.random.Generator) -> list[float]:
    """An integer box of at least 8 pixels a side inside the image."""
    x, y = random.integers(0, WIDTH - 30), random.integers(0, HEIGHT - 30)
    return [float(v) for v in (x, y, x + random.integers(8, 30), y + random.integers(8, 30))]


def box_map(box: list[float]) -> bytes:
    """A CELLS x CELLS map, 255 at the cells whose centre is in the box, 25 elsewhere."""
    centre = (np.arange(CELLS) + 0.5) / CELLS
    x, y = centre * WIDTH, centre * HEIGHT
    inside = ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))[None]
    return np.where(inside, 255, 25).astype(np.uint8).tobytes()


def make(
    folder: Path, images: int = 12, per_image: int = 3, proposals: int = 8, masks: bool = True
) -> dict[str, Path]:
    """Write images, expressions, targets, proposals and cams; returns their paths by name."""
    random = np.random.default_rng(7)
    rows: dict[str, list[dict]] = {
        name: [] for name in ("images", "expressions", "targets", "proposals", "cams")
    }
    for i in range(images):
        split = ("val", "test", "test", "train")[i % 4]
        image = {"image_id": f"i{i}", "path": f"{i}.png", "width": WIDTH, "height": HEIGHT}
        rows["images"].append({**image, "split": split})
        objects = [random_box(random) for _ in range(per_image)]
        made = [[0.0, 0.0, float(WIDTH), float(HEIGHT)], *objects[:-1]]
        made += [random_box(random) for _ in range(proposals - len(made))]
        for rank, box in enumerate(made):
            rows["proposals"].append(
                {
                    "image_id": f"i{i}",
                    "rank": rank,
                    "box_xyxy": box,
                    "objectness": 1 - rank / len(made),
                    "source": "whole_image" if rank == 0 else "made",
                }
            )
        for j, box in enumerate(objects):
            name = f"e{i}.{j}"
            text = ("red boat", "the small red boat", "the red boat left of the green tree")[j % 3]
            rows["expressions"].append(
                {
                    "expression_id": name,
                    "image_id": f"i{i}",
                    "text": text,
                    "kind": "phrase",
                    "split": split,
                    "swap_of": None,
                    "word_class": None,
                    "false_of_image": None,
                }
            )
            mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
            x1, y1, x2, y2 = map(int, box)
            mask[y1:y2, x1:x2] = 1
            mask[y1, x1] = 0
            counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
            rows["targets"].append(
                {
                    "expression_id": name,
                    "boxes_xyxy": [box],
                    "mask": counts if masks and j != 1 else None,
                    "flavour": ("ref", "ref+", "refg")[j % 3],
                    "category": "boat",
                    "distractors": j,
                    "objects_xyxy": objects,
                    "object_index": j,
                }
            )
            rows["cams"].append(
                {
                    "expression_id": name,
                    "height": CELLS,
                    "width": CELLS,
                    "map": box_map(box),
                    "source": "made",
                }
            )
    paths = {name: folder / f"{name}.parquet" for name in rows}
    for name, path in paths.items():
        tables.write(name, rows[name], path)
    return paths


def predict(paths: dict[str, Path], path: Path, offset: float = 0.0, own_map: bool = True) -> Path:
    """Predictions of the true box moved right by `offset` pixels, for val and test expressions."""
    expressions = tables.read("expressions", paths["expressions"]).set_index("expression_id")
    rows = []
    for target in tables.read("targets", paths["targets"]).itertuples():
        if expressions.loc[target.expression_id, "split"] == "train":
            continue
        box = target.boxes_xyxy[0].astype(float) + np.array([offset, 0, offset, 0])
        rows.append(
            {
                "expression_id": target.expression_id,
                "rank": 1,
                "box_xyxy": box.tolist(),
                "score": 0.5,
                "cam_height": CELLS if own_map else None,
                "cam_width": CELLS if own_map else None,
                "cam": box_map(box.tolist()) if own_map else None,
                "image_score": 0.75 if own_map else None,
                "erased_score": 0.25 if own_map else None,
            }
        )
    tables.write("predictions", rows, path)
    return path


def run(stage: str, config: dict, **options: Path) -> subprocess.CompletedProcess[str]:
    """`python -m camground.<stage>` with its config and `--name path` options."""
    command = [sys.executable, "-m", f"camground.{stage}", "--config", json.dumps(config)]
    for name, path in options.items():
        command += [f"--{name.replace('_', '-')}", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
