"""A small invented study as tables on disk, for tests of `evaluate`, `baselines`, `ablation`."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pycocotools import mask as coco_mask

from camground.evaluation.baselines import BASELINES
from camground.evaluation.config import EvaluateConfig
from camground.evaluation.ground_truth import GroundTruth, load
from camground.study import tables

EVALUATE = EvaluateConfig(splits=("val", "test")).to_dict()
ABLATION = {"resamples": 200}
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
                    "label": None,
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
                    "boxed": None,
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
                "chosen_box_xyxy": box.tolist(),
                "score": 0.5,
                "cam_height": CELLS if own_map else None,
                "cam_width": CELLS if own_map else None,
                "cam": box_map(box.tolist()) if own_map else None,
                "image_score": 0.75 if own_map else None,
                "erased_score": 0.25 if own_map else None,
                "presence": 0.75 if own_map else None,
                "presence_other": 0.25 if own_map else None,
            }
        )
    tables.write("predictions", rows, path)
    return path


def ground_truth(paths: dict[str, Path], **protocol: object) -> GroundTruth:
    """The study under the default protocol on val and test, or one with other keys."""
    return load(EvaluateConfig.model_validate({**EVALUATE, **protocol}), **paths)


def run(stage: str, config: dict[str, Any], **options: Path) -> None:
    """The stage's command as a function, with its config as JSON text and its options."""
    module = importlib.import_module(f"camground.stages.{stage}")
    getattr(module, stage)(json.dumps(config), **options)


def run_baselines(paths: dict[str, Path], root: Path, seeds: Sequence[int] = (0, 1)) -> None:
    """The stage `baselines` into `root`, every seed with the same maps."""
    for seed in seeds:
        cams = root / "gradcam" / f"seed{seed}" / "cams.parquet"
        cams.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths["cams"], cams)
    sections = {"evaluate": EVALUATE, "gradcam": {}, "predict": {}, "losses": {}}
    config = {"dataset": "toy", "seeds": seeds, "baselines": list(BASELINES), **sections}
    others = {name: path for name, path in paths.items() if name != "cams"}
    run("baselines", config, **others, gradcam=root / "gradcam", output_root=root)


# swap_of, class, false of the image, image scores, scores at the object, whether the box is another.
# Image 6 has no proposals; images 1, 2, 5, 6 are of test, 0 of val, 3 of train. Proposal 1 of an image is
# the object of its first expression, proposal 2 that of its second.
SWAPS = [
    ("e1.0", "colour", True, (2.0, 1.0), (3.0, 4.0), False),
    ("e1.0", "colour", True, (1.0, 1.0), (2.0, 1.0), True),
    ("e1.1", "relation", False, (0.0, 9.0), (1.0, 1.0), False),
    ("e1.1", "location", False, (0.0, 9.0), (2.0, 1.0), True),
    ("e2.0", "landmark", False, (0.0, 9.0), (0.0, 9.0), True),
    ("e2.0", "landmark", True, (-1.0, 1.0), (5.0, 1.0), True),
    ("e6.0", "size", True, (-3.0, -4.0), None, None),
    ("e6.1", "pattern", False, (0.0, 9.0), None, None),
    ("e0.0", "colour", True, (0.0, 9.0), (0.0, 9.0), True),
    ("e3.0", "colour", True, (0.0, 9.0), (0.0, 9.0), True),
]


def make_with_swaps(folder: Path) -> dict[str, Path]:
    """`make`, with SWAPS among the expressions (ids s0, s1, ...) and no proposals for image 6."""
    paths = make(folder)
    proposals = tables.read("proposals", paths["proposals"])
    tables.write("proposals", proposals[proposals["image_id"] != "i6"], paths["proposals"])
    rows = tables.read_arrow("expressions", paths["expressions"]).to_pylist()
    by_id = {row["expression_id"]: row for row in rows}
    for number, (of, word_class, false, *_) in enumerate(SWAPS):
        swap = {"expression_id": f"s{number}", "text": f"swap {number}", "kind": "swap"}
        swap |= {"swap_of": of, "word_class": word_class, "false_of_image": false}
        rows.append({**by_id[of], **swap})
    tables.write("expressions", rows, paths["expressions"])
    return paths


def swap_scores(paths: dict[str, Path], folder: Path) -> pd.DataFrame:
    """The `swap_scores` table of SWAPS, shuffled, which is also written to `folder`."""
    split = tables.read("images", paths["images"]).set_index("image_id")["split"]
    rows = []
    for number, (of, word_class, false, image, at, elsewhere) in enumerate(SWAPS):
        image_id, index = of.replace("e", "i").split(".")
        scores = [[], []] if at is None else [[100.0] * 8, [-100.0] * 8]
        for listed, value in zip(scores, at or (), strict=False):
            listed[int(index) + 1] = value
        boxes = [None, None] if at is None else [[0, 0, 10, 10], [0, 0, 10, 4 if elsewhere else 5]]
        rows.append(
            {
                "expression_id": f"s{number}",
                "swap_of": of,
                "word_class": word_class,
                "false_of_image": false,
                "split": split[image_id],
                "image_id": image_id,
                "image_score": image[0],
                "image_score_swap": image[1],
                "box_xyxy": boxes[0],
                "box_xyxy_swap": boxes[1],
                "scores": scores[0],
                "scores_swap": scores[1],
            }
        )
    order = np.random.default_rng(0).permutation(len(rows))
    tables.write("swap_scores", [rows[i] for i in order], folder / "swap_scores.parquet")
    return tables.read("swap_scores", folder / "swap_scores.parquet")
