"""Stage `matcher`: train the image-text matcher on the study's own image-sentence pairs.

Selected on captions alone: the epoch whose contrastive loss on the val split is lowest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from camground.data.pairs import Batch, Pairs
from camground.features.store import FeatureStore
from camground.matcher.matcher import Matcher, MatcherConfig
from camground.study import stage
from camground.study.errors import UserError
from camground.study.sections import parse
from camground.training.contrastive import info_nce, positives
from camground.training.loop import (
    OptimiserConfig,
    fit,
    identity_of,
    load_checkpoint,
    prepare,
    save_checkpoint,
)


@dataclass(frozen=True)
class MatcherStageConfig:
    """`kinds`: the kinds of expressions to learn from. `pool`: training averages the grid over
    pool x pool cells, which costs pool ** 2 times less; Grad-CAM is taken on the whole grid. `swaps`: weight
    of telling each expression from its swap where the swap is false of the image.
    """

    model: MatcherConfig = field(default_factory=MatcherConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    kinds: list[str] = field(default_factory=lambda: ["phrase", "sentence"])
    pool: int = 1
    swaps: float = 1.0


def batch_logits(
    model: Matcher, store: FeatureStore, pairs: Pairs, batch: Batch, pool: int = 1
) -> tuple[Tensor, Tensor]:
    """Logits (images, texts) of a batch and which pairs are positive, bool of the same shape."""
    where = next(model.parameters()).device
    visual = store.images(batch.images).to(where)
    if pool > 1:
        visual = functional.avg_pool2d(visual, pool, ceil_mode=True)
    tokens, mask = store.texts([pairs.texts[row] for row in batch.expressions])
    logits = model.all_pairs(visual, model.queries(tokens.to(where), mask.to(where)))
    good = positives(
        torch.from_numpy(batch.owner).to(where),
        torch.from_numpy(pairs.text_ids[batch.expressions]).to(where),
        len(batch.images),
    )
    return logits.float(), good


def swap_loss(
    model: Matcher,
    store: FeatureStore,
    pairs: Pairs,
    batch: Batch,
    false: np.ndarray,
    logits: Tensor,
    pool: int = 1,
) -> Tensor:
    """-log sigmoid(S(I, q) - S(I, q')) of expressions q and their swaps q' that are false of the image.

    false (M,) bool: which of the batch's expressions have such a swap, at least one. logits (images, M).
    """
    where = logits.device
    owner = batch.owner[false]
    visual = store.images(batch.images[owner]).to(where)
    if pool > 1:
        visual = functional.avg_pool2d(visual, pool, ceil_mode=True)
    tokens, mask = store.texts([pairs.swaps.texts[row] for row in batch.swaps[false]])
    swapped = model(visual, tokens.to(where), mask.to(where))
    own = logits[torch.from_numpy(owner).to(where), torch.from_numpy(false.nonzero()[0]).to(where)]
    return -functional.logsigmoid(own - swapped).mean()


def matching_scores(logits: Tensor, good: Tensor) -> dict[str, float]:
    """How well images and texts find each other: `score` (minus the contrastive loss) and `recall@1`."""
    columns = torch.arange(logits.shape[1], device=logits.device)
    return {
        "score": -float(info_nce(logits, good)),
        "recall@1": float(good[logits.argmax(0), columns].float().mean()),
    }


def mean_scores(parts: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each value over batches."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def load_matcher(folder: Path, store: FeatureStore) -> tuple[Matcher, MatcherStageConfig]:
    """The trained matcher of a checkpoint folder, in evaluation mode, for the features of `store`."""
    saved, state = load_checkpoint(folder)
    config = parse(MatcherStageConfig, saved["matcher"])
    model = Matcher(config.model, store.visual_channels, store.text_width)
    model.load_state_dict(state)
    return model.eval(), config


def main() -> None:
    arguments = stage.parser("matcher", __doc__)
    arguments.add_argument("--images", type=Path, required=True)
    arguments.add_argument("--expressions", type=Path, required=True)
    arguments.add_argument("--features", type=Path, required=True)
    arguments.add_argument("--output-dir", type=Path, required=True)
    arguments.add_argument(
        "--resume-dir", type=Path, help="where to keep what a rerun goes on from"
    )
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    read = stage.read_config(given.config)
    config, seed = parse(MatcherStageConfig, read["matcher"]), int(read.get("seed", 0))
    prepare(seed, given.threads)
    store = FeatureStore(given.features)
    train, val = (
        Pairs(given.images, given.expressions, split, config.kinds) for split in ("train", "val")
    )
    for pairs in (train, val):
        if len(pairs.images) < 2:
            raise UserError(
                f"{given.expressions}: split {pairs.split!r} has {len(pairs.images)} images with"
                f" expressions of the kinds {config.kinds}; matching needs at least 2"
            )
    model = Matcher(config.model, store.visual_channels, store.text_width)
    optimiser = config.optimiser
    checks = list(val.epoch(optimiser.batch_size, 1, np.random.default_rng(0)))

    def losses(batch: Batch, step: int, total: int) -> dict[str, Tensor]:
        logits, good = batch_logits(model, store, train, batch, config.pool)
        values = {"contrastive": info_nce(logits, good)}
        loss = values["contrastive"]
        false = batch.swaps >= 0
        false[false] = train.swaps.false[batch.swaps[false]]
        if config.swaps and false.any():
            values["swaps"] = swap_loss(model, store, train, batch, false, logits, config.pool)
            loss = loss + config.swaps * values["swaps"]
        return {"loss": loss, **values}

    def validate() -> dict[str, float]:
        return mean_scores([matching_scores(*batch_logits(model, store, val, b)) for b in checks])

    resume = given.resume_dir / "resume.pt" if given.resume_dir else None
    inputs = [given.images, given.expressions, given.features / "features.json"]
    fitted = fit(
        model,
        lambda rng: train.epoch(
            optimiser.batch_size, optimiser.per_image, rng, optimiser.images_per_epoch
        ),
        train.batches_per_epoch(optimiser.batch_size, optimiser.images_per_epoch),
        losses,
        validate,
        optimiser,
        seed,
        resume,
        identity_of("camground.matcher", read, inputs) if resume else "",
        label="matcher",
    )
    resolved = {"matcher": asdict(config), "features": store.meta["config"], "seed": seed}
    counts = {"train_images": len(train.images), "train_expressions": len(train)}
    save_checkpoint(given.output_dir, model, resolved, fitted, counts)
    if resume is not None:
        resume.unlink(missing_ok=True)


if __name__ == "__main__":
    stage.run("matcher", main)
