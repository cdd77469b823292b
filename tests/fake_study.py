"""A made-up but complete results folder, small and fast, for the tests of `tracking` and `report`.

Images are coloured rectangles; every method's box is the true one plus noise that depends on the
method, so tables, curves and galleries have something to show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

from camground.data.boxes import pairwise_iou
from camground.evaluation.ground_truth import SIZE_EDGES
from camground.report.ablation_table import AblationTable
from camground.report.results import Results
from camground.study import tables

VARIANTS = ["full", "no_cam_encoder", "no_attention_mining", "baseline"]
BASELINES = ["random", "gradcam_ranking", "oracle"]
SEEDS = [0, 1]
SIZE = 96
CELLS = 12
COLOURS = ["crimson", "seagreen", "royalblue", "goldenrod", "purple"]
NOISE = {
    "full": 9.0,
    "no_cam_encoder": 9.5,
    "no_attention_mining": 14.0,
    "baseline": 20.0,
    "random": 45.0,
    "gradcam_ranking": 24.0,
    "oracle": 2.0,
}
CONFIG = {"dataset": "toy", "seeds": SEEDS, "variants": VARIANTS, "baselines": BASELINES}


def _map(box: np.ndarray, spread: float) -> bytes:
    """A blurred blob around a box (4,), CELLS x CELLS uint8."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * spread + 2
    ticks = (np.arange(CELLS) + 0.5) * SIZE / CELLS
    far = ((ticks[None] - centre[0]) / half[0]) ** 2 + ((ticks[:, None] - centre[1]) / half[1]) ** 2
    return (np.exp(-far / 1.5) * 255).astype(np.uint8).tobytes()


def _data(
    root: Path, rng: np.random.Generator, images: int, per_image: int, splits: Sequence[str]
) -> list[dict]:
    """Write pictures and the data tables; returns what was made, one dict an expression."""
    rows, made = [], []
    for index in range(images):
        split = splits[index % len(splits)]
        path = f"pictures/{split}/{index:04d}.png"
        picture = Image.new("RGB", (SIZE, SIZE), tuple(rng.integers(150, 235, 3).tolist()))
        draw = ImageDraw.Draw(picture)
        boxes = []
        for number in range(per_image):
            size = rng.uniform(14, 42, 2)
            low = rng.uniform(0, SIZE - size)
            boxes.append(np.concatenate([low, low + size]))
            draw.rectangle(boxes[-1].tolist(), fill=COLOURS[number % len(COLOURS)])
        (root / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / "data" / path)
        image_id = f"i{index:04d}"
        rows.append({"image_id": image_id, "path": path, "width": SIZE, "height": SIZE, "split": split})
        for number, box in enumerate(boxes):
            made.append(
                {
                    "id": f"e{index:04d}-{number}",
                    "image_id": image_id,
                    "split": split,
                    "box": box,
                    "all": boxes,
                    "number": number,
                    "text": f"the {COLOURS[number % len(COLOURS)]} <block> of the scene",
                    "flavour": ["ref", "ref+", "refg"][number % 3],
                }
            )
    tables.write("images", rows, root / "data" / "images.parquet")
    return made


def _method(
    root: Path, variant: str, seed: int, made: list[dict], proposals: dict, rng: np.random.Generator
) -> None:
    predictions, outcomes, values = [], [], {}
    for one in made:
        wrong = rng.random() < NOISE[variant] / 60
        aim = one["all"][rng.integers(len(one["all"]))] if wrong else one["box"]
        wanted = np.clip(aim + rng.normal(0, NOISE[variant] / 4, 4), 0, SIZE)
        ious = pairwise_iou(wanted[None], proposals[one["image_id"]])[0]
        rank = int(ious.argmax())
        box = proposals[one["image_id"]][rank]
        learned = variant in VARIANTS
        predictions.append(
            {
                "expression_id": one["id"],
                "rank": rank,
                "box_xyxy": box.tolist(),
                "chosen_box_xyxy": box.tolist(),
                "score": 0.5,
                "cam_height": CELLS if learned else None,
                "cam_width": CELLS if learned else None,
                "cam": _map(box, 0.8) if learned else None,
                "image_score": 0.8 if learned else None,
                "erased_score": 0.3 if learned else None,
                "presence": 0.9 if learned else None,
                "presence_other": 0.2 if learned else None,
            }
        )
        iou = float(pairwise_iou(box[None], one["box"][None])[0, 0])
        all_ious = pairwise_iou(box[None], np.array(one["all"]))[0]
        reach = float(pairwise_iou(one["box"][None], proposals[one["image_id"]]).max() >= 0.5)
        found = {
            "iou": iou,
            "acc@0.25": float(iou >= 0.25),
            "acc@0.5": float(iou >= 0.5),
            "acc@0.75": float(iou >= 0.75),
            "acc@0.5_unvoted": float(iou >= 0.45),
            "acc@0.75_unvoted": float(iou >= 0.7),
            "pointing": float(iou > 0.3),
            "recall@0.5": reach,
            "right_object": float(all_ious.argmax() == one["number"]),
            "matcher_cam_coverage": 0.3 + 0.05 * rng.random(),
            "matcher_cam_iou": 0.25 + 0.05 * rng.random(),
            "matcher_cam_energy": 0.4,
            "matcher_cam_spill": 0.5,
        }
        if learned:
            found |= {"presence_auc": 1.0, "found": 1.0, "false_box": float(one["number"] == 0)}
            found |= {"cam_coverage": 0.6, "cam_iou": iou * 0.8, "cam_energy": 0.5, "cam_spill": 0.4}
        for name, value in found.items():
            common = {"expression_id": one["id"], "image_id": one["image_id"]}
            outcomes.append({**common, "split": one["split"], "name": name, "value": value})
            share = (one["box"][2:] - one["box"][:2]).prod() / SIZE**2
            groups = ["all", f"flavour={one['flavour']}"]
            groups.append(f"size={'small' if share < SIZE_EDGES[0] else 'medium'}")
            groups.append(f"distractors={one['number'] % 3}")
            for group in groups:
                values.setdefault((one["split"], name, group), []).append(value)
    metrics = [
        {
            "dataset": "toy",
            "variant": variant,
            "seed": seed,
            "split": split,
            "metric": name,
            "group": group,
            "value": float(np.mean(found)),
            "n": len(found),
        }
        for (split, name, group), found in values.items()
    ]
    folder = root / variant / f"seed{seed}"
    tables.write("predictions", predictions, folder / "predictions.parquet")
    if variant in VARIANTS:
        (folder / "calibration.json").write_text("{}")
    tables.write("outcomes", outcomes, folder / "outcomes.parquet")
    tables.write("metrics", metrics, folder / "metrics.parquet")


def _training(folder: Path, variant: str, seed: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rate = rng.uniform(0.2, 0.4)
    history = []
    for epoch in range(1, 9):
        loss = 0.4 + 2 * np.exp(-rate * epoch) + 0.03 * rng.random()
        for name, value in {
            "train/loss": loss,
            "train/attention_mining": loss / 3,
            "val/score": 1 - loss / 3,
        }.items():
            history.append({"step": epoch * 20, "epoch": epoch, "name": name, "value": value})
    tables.write("history", history, folder / "history.parquet")
    config = {"variant": variant, "seed": seed, "grounder": {"cam_encoder": {"enabled": True}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    summary = {"best_score": 0.7 + seed / 10, "best_epoch": 6, "seconds": 42.5, "parameters": 12345}
    summary |= {"epochs": 8 - seed, "steps": 20 * (8 - seed), "limit_reached": seed == 0}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "checkpoint.safetensors").write_bytes(f"{variant}{seed}".encode() * 100)


def _learning_curve(root: Path, variant: str, seed: int) -> None:
    """Of a training that ends an epoch earlier with each seed; captions choose epoch 6, boxes epoch 5."""
    rows = [
        {
            "variant": variant,
            "seed": seed,
            "epoch": epoch,
            "step": 20 * epoch,
            "score": -abs(6.0 - epoch),
            "accuracy": 0.6 - 0.05 * abs(5 - epoch) - 0.01 * seed,
            "n": 12,
        }
        for epoch in range(1, 9 - seed)
    ]
    tables.write("learning_curve", rows, root / variant / f"seed{seed}" / "learning_curve.parquet")


def _ablation(root: Path) -> None:
    rows, means = [], {}
    for variant in [*VARIANTS, *BASELINES]:
        found: dict = {}
        for seed in SEEDS:
            path = root / variant / f"seed{seed}" / "metrics.parquet"
            for row in tables.read_arrow("metrics", path).to_pylist():
                found.setdefault((row["split"], row["metric"], row["group"]), []).append(row)
        for (split, metric, group), listed in found.items():
            values = [row["value"] for row in listed]
            means[variant, split, metric, group] = float(np.mean(values))
            base = means.get(("full", split, metric, group))
            gap = None if base is None or variant == "full" else float(np.mean(values)) - base
            sure = gap is not None and abs(gap) > 0.06
            tested = (metric, group) == ("acc@0.5", "all") and split.startswith("test") and split != "testB"
            tested &= variant not in ("random", "oracle")
            rows.append(
                {
                    "dataset": "toy",
                    "variant": variant,
                    "split": split,
                    "metric": metric,
                    "group": group,
                    "seeds": len(values),
                    "n": listed[0]["n"],
                    "mean": float(np.mean(values)),
                    "deviation": float(np.std(values, ddof=1)),
                    "difference": gap,
                    "low": None if gap is None else gap - 0.05,
                    "high": None if gap is None else gap + 0.05,
                    "p": None if gap is None else (0.001 if sure else 0.4),
                    "p_holm": (0.004 if sure else 0.8) if tested and gap is not None else None,
                    "resamples": None if gap is None else 10_000,
                }
            )
    tables.write("ablation", rows, root / "ablation.parquet")
    for ending in ("csv", "md", "tex"):
        (root / f"ablation.{ending}").write_text("variant,acc\nfull,0.5\n")


def make(
    root: Path, images: int = 16, per_image: int = 3, splits: Sequence[str] = ("train", "test", "val", "test")
) -> Path:
    """Write a study below `root` (R/D) and return it. Same arguments, same content. `splits`: of the
    images, in turn."""
    rng = np.random.default_rng(0)
    made = _data(root, rng, images, per_image, splits)
    data = root / "data"
    expressions = [
        {
            "expression_id": one["id"],
            "image_id": one["image_id"],
            "text": one["text"],
            "kind": "phrase",
            "split": one["split"],
            "boxed": True,
            "swap_of": None,
            "word_class": None,
            "false_of_image": None,
        }
        for one in made
    ]
    tables.write("expressions", expressions, data / "expressions.parquet")
    targets = [
        {
            "expression_id": one["id"],
            "boxes_xyxy": [one["box"].tolist()],
            "mask": None,
            "flavour": one["flavour"],
            "category": "block",
            "distractors": one["number"] % 3,
            "objects_xyxy": [box.tolist() for box in one["all"]],
            "object_index": one["number"],
        }
        for one in made
    ]
    tables.write("targets", targets, data / "targets.parquet")
    tables.write("rejected", [], data / "rejected.parquet")
    proposals: dict[str, list] = {}
    for one in made:
        listed = proposals.setdefault(one["image_id"], [])
        # One object in eight has no good proposal.
        if rng.random() > 0.125:
            listed.append(np.clip(one["box"] + rng.normal(0, 2, 4), 0, SIZE))
        low = rng.uniform(0, SIZE / 2, (2, 2))
        listed += [np.concatenate([corner, corner + rng.uniform(8, 46, 2)]) for corner in low]
    arrays = {image: np.array(boxes) for image, boxes in proposals.items()}
    rows = [
        {
            "image_id": i,
            "rank": rank,
            "box_xyxy": box.tolist(),
            "objectness": 0.5,
            "source": "toy",
            "label": None,
        }
        for i, boxes in arrays.items()
        for rank, box in enumerate(boxes)
    ]
    tables.write("proposals", rows, root / "proposals" / "proposals.parquet")
    cams = [
        {
            "expression_id": one["id"],
            "height": CELLS,
            "width": CELLS,
            "map": _map(one["box"], 0.35),
            "source": "gradcam",
        }
        for one in made
    ]
    more = np.random.default_rng(1)
    for seed in SEEDS:
        tables.write("cams", cams, root / "gradcam" / f"seed{seed}" / "cams.parquet")
        _training(root / "matcher" / f"seed{seed}", "matcher", seed, rng if seed == 0 else more)
    evaluated = [one for one in made if one["split"] != "train"]
    for variant in [*VARIANTS, *BASELINES]:
        for seed in SEEDS:
            _method(root, variant, seed, evaluated, arrays, rng)
            if variant in VARIANTS:
                _training(root / variant / f"seed{seed}" / "train", variant, seed, rng)
                _learning_curve(root, variant, seed)
    _ablation(root)
    return root


def results(root: Path, split: str = "test") -> Results:
    """The study below `root` as the report reads it."""
    rows = tables.read("ablation", root / "ablation.parquet")
    return Results(root, AblationTable(rows, "toy", VARIANTS, BASELINES, SEEDS, "full", split))


# What variants have in their configs, and their masks' share of the image by seed.
MINING: dict[str, Any] = {"weight": 0.5, "sigma": 0.4, "order": "exact"}
MINED: dict[str, tuple[dict[str, Any], dict[str, Any], list[float]]] = {
    "full": ({}, {}, [0.3, 0.2]),
    "no_cam_encoder": ({"cam_encoder": {"enabled": False}}, {"sigma": 0.2}, [0.3, 0.2]),
    "no_attention_mining": ({}, {"weight": 0.0}, []),
    "baseline": ({}, {"sigma": 0.2, "order": "first"}, [0.9, 0.5]),
}


def add_mining(root: Path, variants: Mapping[str, Any] = MINED) -> None:
    """Give the trainings of a study configs and curves of attention mining."""
    for variant, (grounder, keys, shares) in variants.items():
        for seed in SEEDS:
            folder = root / variant / f"seed{seed}" / "train"
            config = {
                "seed": seed,
                "grounder": {"cam_encoder": {"enabled": True}} | grounder,
                "losses": {"contrastive": 1.0, "attention_mining": {**MINING, **keys}},
            }
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            path = folder / "history.parquet"
            rows = tables.read_arrow("history", path).to_pylist()
            for step in (1, 999) if shares else ():
                # only the last counts
                share = shares[seed] if step == 999 else 0.95
                for name, value in (("mask_share", share), ("size_penalty", share / 10)):
                    row = {"step": step, "epoch": 1.0, "name": f"train/{name}", "value": value}
                    rows.append(row)
            tables.write("history", rows, path)


def add_ablation_rows(root: Path, changes: Iterable[Mapping[str, Any]], split: str = "test") -> None:
    """Append rows to a study's ablation table, each like one of the reference but for its changes."""
    path = root / "ablation.parquet"
    rows = tables.read_arrow("ablation", path).to_pylist()
    like = next(row for row in rows if (row["variant"], row["split"]) == ("full", split))
    tables.write("ablation", [*rows, *({**like, **change} for change in changes)], path)
