"""Training the image-text matcher on the study's own image-sentence pairs.

Selected on captions alone: the epoch whose contrastive loss on the val split is lowest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from camground.data.pairs import PairBatch, Pairs
from camground.features.store import FeatureStore
from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.study.devices import prepare_torch
from camground.training.contrastive import info_nce, positives, recall_at_1
from camground.training.loop import Validation, run_training, training_pairs


def train_matcher(
    config: MatcherConfig,
    seed: int,
    images: Path,
    expressions: Path,
    features: Path,
    output: Path,
    resume: Path | None,
    threads: int,
) -> None:
    """Train the matcher of one seed; `output`, `resume`: as of `run_training`."""
    prepare_torch(threads, seed)
    store = FeatureStore(features)
    train, val = training_pairs(images, expressions, config.kinds)
    model = Matcher(config, store.visual_channels, store.text_width)
    objective = MatcherObjective(model, store, train, val)
    run_training(
        model,
        train,
        val,
        objective.losses,
        objective.validate,
        config.optimiser,
        seed,
        label=f"matcher/s{seed}",
        stage="camground.stages.matcher",
        inputs=[images, expressions, features / "features.json"],
        resolved={"seed": seed, "matcher": config.to_dict(), "features": store.meta["config"]},
        parameters=model.state_dict,
        output=output,
        resume=resume,
    )


class Features(Protocol):
    """Where a batch's features come from: the cache (`FeatureStore`), or the networks themselves."""

    def images(self, rows: np.ndarray) -> Tensor: ...

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]: ...


class MatcherObjective:
    """The losses of a matcher on batches of `train`, and its score on batches of `val`."""

    def __init__(self, model: Matcher, store: Features, train: Pairs, val: Pairs) -> None:
        self.model, self.store, self.train, self.val = model, store, train, val

    def losses(self, batch: PairBatch, step: int, epoch: float) -> dict[str, Tensor]:
        """As `fit` takes them."""
        # Two scales in turn: the grid as Grad-CAM meets it, which tells small things apart, and averaged over
        # 2 x 2 cells, whose maps cover more of an object.
        visual = see(self.model, self.store, batch, pool=1 + step % 2)
        logits, positive = batch_logits(self.model, self.store, self.train, batch, visual)
        values = {"contrastive": info_nce(logits, positive)}
        loss = values["contrastive"]
        false, weight = batch.swaps >= 0, self.model.config.swaps
        false[false] = self.train.swaps.false[batch.swaps[false]]
        if weight and false.any():
            values["swaps"] = swap_loss(self.model, self.store, self.train, batch, visual, false, logits)
            loss = loss + weight * values["swaps"]
        return {"loss": loss, **values}

    def validate(self, batch: PairBatch) -> Validation:
        """As `run_training` takes it."""
        visual = see(self.model, self.store, batch)
        logits, positive = batch_logits(self.model, self.store, self.val, batch, visual)
        score, recall = -info_nce(logits, positive), recall_at_1(logits, positive)
        return Validation({"score": float(score), "recall@1": float(recall)})


def see(model: Matcher, store: Features, batch: PairBatch, pool: int = 1) -> Tensor:
    """The trunk's maps (B, width, H, W) of a batch's images, of features averaged over pool x pool cells."""
    features = store.images(batch.images).to(next(model.parameters()).device)
    if pool > 1:
        features = functional.avg_pool2d(features, pool, ceil_mode=True)
    visual: Tensor = model.trunk(features)
    return visual


def batch_logits(
    model: Matcher, store: Features, pairs: Pairs, batch: PairBatch, visual: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (images, texts) of a batch, whose maps are `visual`, and which pairs are positive, bool of the
    same shape."""
    device = visual.device
    tokens, mask = store.texts([pairs.texts[row] for row in batch.expressions])
    texts = model.read(tokens.to(device), mask.to(device))
    logits = model.logits(model.all_similarities(visual, texts))
    positive = positives(
        torch.from_numpy(batch.owner).to(device),
        torch.from_numpy(pairs.text_ids[batch.expressions]).to(device),
        len(batch.images),
    )
    return logits.float(), positive


def swap_loss(
    model: Matcher,
    store: Features,
    pairs: Pairs,
    batch: PairBatch,
    visual: Tensor,
    false: np.ndarray,
    logits: Tensor,
) -> Tensor:
    """-log sigmoid(S(I, q) - S(I, q')) of expressions q and their swaps q' that are false of the image.

    false (M,) bool: which of the batch's expressions have such a swap, at least one. visual (images, width,
    H, W) and logits (images, M): of `see` and `batch_logits`.
    """
    device = logits.device
    owner = torch.from_numpy(batch.owner[false]).to(device)
    tokens, mask = store.texts([pairs.swaps.texts[row] for row in batch.swaps[false]])
    texts = model.read(tokens.to(device), mask.to(device))
    swapped = model.logits(model.similarity(visual[owner], texts))
    columns = torch.from_numpy(false.nonzero()[0]).to(device)
    return -functional.logsigmoid(logits[owner, columns] - swapped.float()).mean()
