"""Training the image-text matcher on the study's own image-sentence pairs.

Selected on captions alone: the epoch whose contrastive loss on the val split is lowest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from camground.data.pairs import PairBatch, Pairs
from camground.features.store import FeatureStore
from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.study.checkpoints import save_checkpoint
from camground.study.devices import prepare_torch
from camground.study.errors import UserError
from camground.training.contrastive import info_nce, positives, recall_at_1
from camground.training.loop import fit, identity_of, write_results


def train_matcher(
    config: MatcherConfig,
    images: Path,
    expressions: Path,
    features: Path,
    output: Path,
    resume: Path | None,
    threads: int,
) -> None:
    """Write checkpoint, resolved config, history and summary of the matcher into `output`.

    resume: the folder to resume an interrupted training from, emptied at the end.
    """
    prepare_torch(threads, config.seed)
    store = FeatureStore(features)
    train, val = (Pairs(images, expressions, split, config.kinds) for split in ("train", "val"))
    for pairs in (train, val):
        if len(pairs.images) < 2:
            raise UserError(
                f"{expressions}: split {pairs.split!r} has {len(pairs.images)} images with"
                f" expressions of the kinds {list(config.kinds)}; matching needs at least 2"
            )
    model = Matcher(config, store.visual_channels, store.text_width)
    optimiser = config.optimiser
    checks = list(val.epoch(optimiser.batch_size, 1, np.random.default_rng(0)))

    def losses(batch: PairBatch, step: int, total: int) -> dict[str, Tensor]:
        logits, positive = batch_logits(model, store, train, batch, config.pool)
        values = {"contrastive": info_nce(logits, positive)}
        loss = values["contrastive"]
        false = batch.swaps >= 0
        false[false] = train.swaps.false[batch.swaps[false]]
        if config.swaps and false.any():
            values["swaps"] = swap_loss(model, store, train, batch, false, logits, config.pool)
            loss = loss + config.swaps * values["swaps"]
        return {"loss": loss, **values}

    def validate() -> dict[str, float]:
        return mean_scores([matching_scores(*batch_logits(model, store, val, check)) for check in checks])

    resolved = {"matcher": config.to_dict(), "features": store.meta["config"]}
    inputs = [images, expressions, features / "features.json"]
    resume_file = resume / "resume.pt" if resume else None
    fitted = fit(
        model,
        lambda rng: train.epoch(optimiser.batch_size, optimiser.per_image, rng, optimiser.images_per_epoch),
        train.batches_per_epoch(optimiser.batch_size, optimiser.images_per_epoch),
        losses,
        validate,
        optimiser,
        config.seed,
        label="matcher",
        resume=resume_file,
        identity=identity_of("camground.stages.matcher", resolved, inputs) if resume else "",
    )
    save_checkpoint(output, model.state_dict(), resolved)
    counts = {"train_images": len(train.images), "train_expressions": len(train)}
    write_results(output, model, fitted, **counts)
    if resume_file is not None:
        resume_file.unlink(missing_ok=True)


def batch_logits(
    model: Matcher, store: FeatureStore, pairs: Pairs, batch: PairBatch, pool: int = 1
) -> tuple[Tensor, Tensor]:
    """Logits (images, texts) of a batch and which pairs are positive, bool of the same shape."""
    device = next(model.parameters()).device
    features = _pooled(store.images(batch.images).to(device), pool)
    tokens, mask = store.texts([pairs.texts[row] for row in batch.expressions])
    logits = model.logits_per_image(features, model.read(tokens.to(device), mask.to(device)))
    positive = positives(
        torch.from_numpy(batch.owner).to(device),
        torch.from_numpy(pairs.text_ids[batch.expressions]).to(device),
        len(batch.images),
    )
    return logits.float(), positive


def swap_loss(
    model: Matcher,
    store: FeatureStore,
    pairs: Pairs,
    batch: PairBatch,
    false: np.ndarray,
    logits: Tensor,
    pool: int = 1,
) -> Tensor:
    """-log sigmoid(S(I, q) - S(I, q')) of expressions q and their swaps q' that are false of the image.

    false (M,) bool: which of the batch's expressions have such a swap, at least one. logits (images, M).
    """
    device = logits.device
    owner = batch.owner[false]
    features = _pooled(store.images(batch.images[owner]).to(device), pool)
    tokens, mask = store.texts([pairs.swaps.texts[row] for row in batch.swaps[false]])
    swapped = model(features, model.read(tokens.to(device), mask.to(device)))
    columns = torch.from_numpy(false.nonzero()[0]).to(device)
    own = logits[torch.from_numpy(owner).to(device), columns]
    return -functional.logsigmoid(own - swapped).mean()


def matching_scores(logits: Tensor, positive: Tensor) -> dict[str, float]:
    """How well images and texts are matched: `score` (minus the contrastive loss) and `recall@1`."""
    return {"score": -float(info_nce(logits, positive)), "recall@1": float(recall_at_1(logits, positive))}


def mean_scores(parts: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each value over batches."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def _pooled(features: Tensor, pool: int) -> Tensor:
    return functional.avg_pool2d(features, pool, ceil_mode=True) if pool > 1 else features
