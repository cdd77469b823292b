"""Attention mining that erases pixels: the frozen backbone runs in the loop and passes the gradient."""

import numpy as np
import pytest
import torch
from PIL import Image

from camground.features.cache import write_features
from camground.features.config import BackboneConfig, FeaturesConfig
from camground.features.store import FeatureStore
from camground.stages.train import pixel_eraser
from camground.study import tables


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    images, expressions = [], []
    for n in range(2):
        pixels = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
        row = {"image_id": str(n), "path": f"{n}.png", "width": 64, "height": 64, "split": "train"}
        images.append(row)
        text = {"expression_id": str(n), "image_id": str(n), "text": "a thing", "kind": "phrase"}
        no_swap = dict.fromkeys(("swap_of", "word_class", "false_of_image"))
        expressions.append({**text, **no_swap, "split": "train"})
    tables.write("images", images, tmp_path / "images.parquet")
    tables.write("expressions", expressions, tmp_path / "expressions.parquet")
    config = FeaturesConfig(backbone=BackboneConfig(image_size=64, grid=4))
    write_features(
        config, tmp_path / "images.parquet", tmp_path / "expressions.parquet", tmp_path, threads=1
    )
    return FeatureStore(tmp_path)


def test_nothing_erased_gives_the_cached_features(store, tmp_path):
    erased = pixel_eraser(store, tmp_path / "images.parquet", "mean", torch.device("cpu"))
    with torch.no_grad():
        found = erased(np.array([1, 0]), torch.zeros(2, 4, 4))
    assert torch.allclose(found, store.images([1, 0]), atol=5e-3)


def test_erasing_changes_the_features_and_the_mask_has_a_gradient(store, tmp_path):
    erased = pixel_eraser(store, tmp_path / "images.parquet", "mean", torch.device("cpu"))
    mask = torch.zeros(1, 4, 4, requires_grad=True)
    half = torch.zeros(1, 4, 4)
    half[:, :, :2] = 1
    changed = erased(np.array([0]), mask + half)
    assert not torch.allclose(changed, store.images([0]), atol=0.1)
    changed.square().sum().backward()
    assert mask.grad.abs().sum() > 0
