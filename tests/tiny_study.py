"""A small invented study up to training: its tables, a random feature cache and an untrained matcher, with
the stages `train` and `predict` to run on it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tiny_models
from camground.features.config import FeaturesConfig
from camground.features.language import text_vectors
from camground.grounder.presence import Calibration, write_calibration
from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.stages.predict import predict
from camground.stages.train import train
from camground.study import tables
from camground.study.checkpoints import save_checkpoint
from evaluation_study import make_with_swaps
from tiny_grounder import CHANNELS, GRID, TEXT_WIDTH, tiny_config

TABLES = ("images", "expressions", "proposals", "cams")


class RandomFeatures:
    """Stands for a FeatureStore: random features of each image, random vectors of each word."""

    def images(self, rows: np.ndarray) -> Tensor:
        makers = [torch.Generator().manual_seed(int(row)) for row in rows]
        return torch.stack([torch.randn(CHANNELS, GRID, GRID, generator=make) for make in makers])

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        longest = max(len(text.split()) for text in texts)
        tokens, mask = (torch.zeros(len(texts), longest, TEXT_WIDTH), torch.zeros(len(texts), longest))
        for row, text in enumerate(texts):
            for position, word in enumerate(text.split()):
                make = torch.Generator().manual_seed(zlib.crc32(word.encode()))
                tokens[row, position] = torch.randn(TEXT_WIDTH, generator=make)
                mask[row, position] = 1
        return tokens, mask.bool()

    def vectors(self, texts: list[str]) -> Tensor:
        return text_vectors(*self.texts(texts))


def write_features(images: Path, expressions: Path, folder: Path) -> Path:
    """A feature cache of `RandomFeatures` for the two tables."""
    store = RandomFeatures()
    folder.mkdir()
    count = len(tables.read("images", images))
    np.save(folder / "visual.npy", store.images(np.arange(count)).numpy().astype(np.float16))
    texts = tables.read("expressions", expressions)["text"].unique().tolist()
    tokens = [store.texts([text])[0][0].numpy() for text in texts]
    np.save(folder / "tokens.npy", np.concatenate(tokens).astype(np.float16))
    stops = np.cumsum([len(each) for each in tokens])
    rows = [
        {"text": text, "start": stop - len(each), "length": len(each)}
        for text, each, stop in zip(texts, tokens, stops.tolist(), strict=True)
    ]
    tables.write("texts", rows, folder / "texts.parquet")
    (folder / "features.json").write_text(json.dumps({"config": FeaturesConfig().to_dict()}))
    return folder


def write_matcher(folder: Path, channels: int, text_width: int) -> Path:
    """The checkpoint of an untrained matcher."""
    torch.manual_seed(0)
    config = MatcherConfig(width=16, blocks=1)
    matcher = Matcher(config, channels, text_width)
    save_checkpoint(folder, matcher.state_dict(), {"matcher": config.to_dict()})
    return folder


def make_study(folder: Path) -> dict[str, Path]:
    """`evaluation_study.make_with_swaps` with the folders `features` and `matcher`; paths by name."""
    paths = make_with_swaps(folder)
    features = write_features(paths["images"], paths["expressions"], folder / "features")
    return {**paths, "features": features, "matcher": write_matcher(folder / "matcher", CHANNELS, TEXT_WIDTH)}


def make_photograph_study(folder: Path, labels: Sequence[str | None] = (None,)) -> dict[str, Path]:
    """A study of four photographs of each split, 64 pixels a side, with a random ResNet and a random BERT of
    two layers, a phrase, three proposals and a CAM each; paths by name. labels: of the proposals, in turn."""
    tiny_models.study(folder, images=4)
    tiny_models.text_encoder("bert", folder / "bert")
    section = {
        "backbone": {"name": "timm/resnet10t", "image_size": 64, "levels": [2, 3], "grid": None},
        "language": {"name": str(folder / "bert"), "max_tokens": 8},
    }
    store = tiny_models.run_features(folder, section)
    rng = np.random.default_rng(0)
    proposals, cams, label = [], [], cycle(labels)
    for image in tables.read("images", folder / "images.parquet")["image_id"]:
        corners = rng.uniform(0, 30, (3, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (3, 2))], 1)
        for rank, box in enumerate(boxes):
            row = {"image_id": image, "rank": rank, "box_xyxy": box.tolist()}
            proposals.append({**row, "objectness": 0.5, "source": "made", "label": next(label)})
        cells = rng.integers(0, 256, (8, 8), dtype=np.uint8).tobytes()
        row = {"expression_id": image, "height": 8, "width": 8, "map": cells}
        cams.append({**row, "source": "made"})
    tables.write("proposals", proposals, folder / "proposals.parquet")
    tables.write("cams", cams, folder / "cams.parquet")
    paths = {name: folder / f"{name}.parquet" for name in TABLES}
    matcher = write_matcher(folder / "matcher", store.visual_channels, store.text_width)
    return {**paths, "features": folder / "features", "matcher": matcher}


def some_calibration(folder: Path) -> Path:
    """A file of one, as `predict` leaves it."""
    write_calibration(Calibration(slope=1.5, bias=2.0, own=3, other=3), folder / "calibration.json")
    return folder / "calibration.json"


def run_train(
    paths: dict[str, Path],
    output: Path,
    *,
    grounder: dict[str, Any] | None = None,
    losses: dict[str, Any] | None = None,
    resume: Path | None = None,
    seed: int = 0,
    **options: Any,
) -> Path:
    """The stage `train`, with a small grounder, into `output`, which it returns.

    options: of `train` (`tuned`) and of its optimiser (all others).
    """
    own = {"tuned": options.pop("tuned")} if "tuned" in options else {}
    optimiser = {"epochs": 2, "batch_size": 4, "per_image": 2, **options}
    config = {
        "variant": "full",
        "seed": seed,
        "grounder": tiny_config(**(grounder or {})).to_dict(),
        "losses": losses or {},
        "train": {**own, "optimiser": optimiser},
    }
    inputs = {name: paths[name] for name in (*TABLES, "features", "matcher")}
    inputs["teacher_cams"] = paths.get("teacher_cams", paths["cams"])
    train(json.dumps(config), **inputs, output_dir=output, resume_dir=resume)
    return output


def run_predict(paths: dict[str, Path], checkpoint: Path, folder: Path, **config: Any) -> tuple[Path, Path]:
    """The stage `predict`, val and test unless `splits` says otherwise; its two tables in `folder`."""
    splits = config.pop("splits", ["val", "test"])
    text = json.dumps({"predict": config, "evaluate": {"splits": splits}})
    inputs = {name: paths[name] for name in (*TABLES, "features")}
    inputs["detected"] = paths["proposals"]
    output, swaps = folder / "predictions.parquet", folder / "swap_scores.parquet"
    outputs = {"output": output, "swaps": swaps, "calibration": folder / "calibration.json"}
    predict(text, **inputs, checkpoint=checkpoint, **outputs)
    return output, swaps
