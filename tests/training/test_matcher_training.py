"""Training the matcher: telling expressions from their swaps, and what the stage leaves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from camground.data.pairs import PairBatch, Swaps
from camground.features.store import FeatureStore
from camground.matcher.matcher import Matcher, load_matcher
from camground.matcher.projections import VisualTrunk
from camground.stages.matcher import matcher
from camground.study import tables
from camground.study.errors import UserError
from camground.study.layers import read_yaml
from camground.training import loop
from camground.training.loop import Validation
from camground.training.matcher import batch_logits, see, swap_loss
from tiny_grounder import CHANNELS, TEXT_WIDTH, tiny_matcher
from tiny_study import make_study


class Features:
    """Stands for a FeatureStore: images and texts as random vectors."""

    def __init__(self, images: int, texts: list[str]) -> None:
        make = torch.Generator().manual_seed(4)
        self.visual = torch.randn(images, CHANNELS, 5, 7, generator=make)
        self.tokens = {text: torch.randn(2, TEXT_WIDTH, generator=make) for text in texts}

    def images(self, rows: Any) -> torch.Tensor:
        return self.visual[torch.as_tensor(rows)]

    def texts(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.stack([self.tokens[text] for text in texts])
        return tokens, torch.ones(len(texts), 2, dtype=torch.bool)


def make_swaps() -> tuple[Any, Any, PairBatch, np.ndarray]:
    """Four expressions of three images, of which the second has no swap and that of the third is not false:
    features, pairs, the batch of all, and which swaps are false."""
    texts = [f"text {n}" for n in range(4)]
    changed = [f"swap {n}" for n in range(3)]
    false = np.array([True, False, True])
    swaps = Swaps(changed, changed, ["colour"] * 3, np.array([0, 2, 3]), false)
    pairs = SimpleNamespace(texts=texts, text_ids=np.arange(4), swaps=swaps)
    batch = PairBatch(np.array([2, 0, 1]), np.arange(4), np.array([0, 0, 1, 2]), np.array([0, -1, 1, 2]))
    return Features(3, texts + changed), pairs, batch, np.array([True, False, False, True])


def make_matcher() -> Matcher:
    return tiny_matcher().float()


def test_the_swap_loss_is_the_formula_on_the_grid_that_is_used() -> None:
    store, pairs, batch, false = make_swaps()
    model = make_matcher()
    visual = see(model, store, batch)
    logits, _ = batch_logits(model, store, pairs, batch, visual)
    loss = swap_loss(model, store, pairs, batch, visual, false, logits)
    by_hand = []
    for image, text, swap in ((2, "text 0", "swap 0"), (1, "text 3", "swap 2")):
        visual = store.images([image])
        own, other = (model(visual, model.read(*store.texts([name]))) for name in (text, swap))
        by_hand.append(functional.softplus(other - own))
    assert torch.allclose(loss, torch.cat(by_hand).mean(), atol=1e-5)


def test_training_tells_expressions_from_their_swaps() -> None:
    store, pairs, batch, false = make_swaps()
    model = make_matcher()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        visual = see(model, store, batch)
        logits, _ = batch_logits(model, store, pairs, batch, visual)
        loss = swap_loss(model, store, pairs, batch, visual, false, logits)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_study(tmp_path_factory.mktemp("study"))


def train(
    paths: dict[str, Path], output: Path, resume: Path | None = None, seed: int = 0, **changes: Any
) -> Path:
    """The stage `matcher` with a small matcher."""
    optimiser = {"epochs": 3, "batch_size": 3, **changes.pop("optimiser", {})}
    section = {"width": 16, "optimiser": optimiser, **changes}
    inputs = {name: paths[name] for name in ("images", "expressions", "features")}
    config = json.dumps({"features": {}, "matcher": section, "seed": seed})
    matcher(config, **inputs, output_dir=output, resume_dir=resume)
    return output


def test_the_stage_leaves_a_matcher_that_has_learnt(paths: dict[str, Path], tmp_path: Path) -> None:
    trained = load_matcher(train(paths, tmp_path / "out"))
    start = Matcher(trained.config, CHANNELS, TEXT_WIDTH)
    assert start.state_dict().keys() == trained.state_dict().keys()
    history = tables.read("history", tmp_path / "out" / "history.parquet")
    loss = history[history["name"] == "train/loss"]["value"].tolist()
    assert loss[-1] < loss[0]
    assert "train/swaps" in set(history["name"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["parameters"] == sum(value.numel() for value in trained.parameters())
    again = load_matcher(train(paths, tmp_path / "again"))
    for name, value in trained.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_every_seed_has_a_matcher_of_its_own(paths: dict[str, Path], tmp_path: Path) -> None:
    """From its first parameters on."""
    still = {"epochs": 1, "learning_rate": 1e-12}
    first, second = (
        load_matcher(train(paths, tmp_path / str(seed), seed=seed, optimiser=still)) for seed in (0, 1)
    )
    assert not torch.allclose(first.trunk.stem.weight, second.trunk.stem.weight)
    assert read_yaml(tmp_path / "1" / "config.yaml")["seed"] == 1


def test_the_matcher_learns_on_the_grid_that_it_is_used_on_and_on_half_of_it(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = set()
    trunk = VisualTrunk.forward

    def spy(self: VisualTrunk, features: torch.Tensor) -> torch.Tensor:
        grids.add((self.training, *features.shape[-2:]))
        return trunk(self, features)

    monkeypatch.setattr(VisualTrunk, "forward", spy)
    train(paths, tmp_path / "out")
    grid = FeatureStore(paths["features"]).images(np.array([0])).shape[-2:]
    assert grids == {(True, *grid), (True, grid[0] // 2, grid[1] // 2), (False, *grid)}


def test_an_interrupted_training_goes_on_to_the_very_parameters(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):
        pass

    whole = load_matcher(train(paths, tmp_path / "whole"))
    joined, count = loop.joined, iter(range(9))

    def stop(parts: list[Validation]) -> Validation:
        if next(count) == 1:
            raise Interrupted
        return joined(parts)

    resume = tmp_path / "resume"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "joined", stop)
        with pytest.raises(Interrupted):
            train(paths, tmp_path / "two", resume)
    assert torch.load(resume / "resume.pt", weights_only=True)["done"] == 1
    resumed = load_matcher(train(paths, tmp_path / "two", resume))
    assert not list(resume.iterdir())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_split_of_one_image_is_refused(paths: dict[str, Path], tmp_path: Path) -> None:
    expressions = tables.read("expressions", paths["expressions"])
    few = expressions[(expressions["split"] != "val") | (expressions["image_id"] == "i0")]
    tables.write("expressions", few, tmp_path / "expressions.parquet")
    with pytest.raises(UserError, match=r"split 'val' has 1 images .*\['phrase'\]; training needs"):
        train({**paths, "expressions": tmp_path / "expressions.parquet"}, tmp_path / "out")
