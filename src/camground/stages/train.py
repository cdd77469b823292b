"""Stage `train`: train the grounder of one variant and seed, from image-sentence pairs and CAMs alone.

Selected on captions: the epoch whose losses on the val split, mining left out, are lowest.
No box of any target is among this stage's inputs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camground.data.pairs import Batch, Pairs
from camground.data.photographs import read_square
from camground.features.backbone import Backbone
from camground.features.store import FeatureStore
from camground.features.tuned import (
    PREFIX,
    LiveFeatures,
    LiveStore,
    TunedConfig,
    WithFeatures,
    backbone_pass,
)
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.grounder import Grounder, GrounderConfig
from camground.matcher.matcher import Matcher
from camground.stages.features import FeaturesConfig
from camground.stages.matcher import load_matcher, matching_scores, mean_scores
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log
from camground.study.sections import parse
from camground.training import attention_mining as mining
from camground.training.contrastive import positives
from camground.training.loop import (
    EPOCHS,
    OptimiserConfig,
    device,
    fit,
    identity_of,
    prepare,
    save_checkpoint,
    save_parameters,
)
from camground.training.objective import ImageErased, LossesConfig, Objective


@dataclass(frozen=True)
class TrainConfig:
    """`kinds`: the kinds of expressions to learn from. `init`: "matcher" starts the trunk and the words
    from the image-text matcher, which has the same layers; "random" from nothing. `keep_epochs`: keep every
    epoch's checkpoint beside the best one, for `camground.selection`. `tuned`: how much of the backbone and
    of the language encoder trains too.
    """

    kinds: list[str] = field(default_factory=lambda: ["phrase"])
    init: str = "matcher"
    keep_epochs: bool = False
    tuned: TunedConfig = field(default_factory=TunedConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)


def start_from_matcher(model: Grounder, matcher: Matcher) -> None:
    """Copy the matcher's trunk, words and, where the grounder has them, relations, in place."""
    pairs = [(model.trunk, matcher.trunk), (model.text, matcher.text)]
    if model.kernel is not None:
        if matcher.relations is None or matcher.relations.heads != model.kernel.heads:
            raise UserError(
                "train.init: matcher needs model.relation_kernel equal to matcher.model.relations;"
                " make them equal, or set train.init: random"
            )
        pairs.append((model.kernel, matcher.relations))
    for mine, theirs in pairs:
        shapes = [
            {key: tuple(value.shape) for key, value in module.state_dict().items()}
            for module in (mine, theirs)
        ]
        if shapes[0] != shapes[1]:
            raise UserError(
                "train.init: matcher needs model.width and model.blocks equal to matcher.model.width"
                " and matcher.model.blocks; make them equal, or set train.init: random"
            )
        mine.load_state_dict(theirs.state_dict())


def pixel_eraser(
    store: FeatureStore,
    images: Path,
    fill: str,
    where: torch.device,
    backbone: Backbone | None = None,
    frozen: bool = True,
) -> ImageErased:
    """Erase pixels and run the backbone on what is left (GAIN, Li et al. 2018, eq. 3).

    `backbone`: the one that trains, else the frozen one. `frozen`: no gradient to its parameters.
    """
    config = parse(FeaturesConfig, store.meta["config"])
    seeing = (backbone or Backbone(config.backbone)).to(where)
    paths = [tables.image_path(images, path) for path in tables.read("images", images)["path"]]

    def erased(rows: np.ndarray, mask: Tensor) -> Tensor:
        size = config.backbone.image_size
        pixels = torch.stack([read_square(paths[row], size) for row in rows]).to(where).float()
        return backbone_pass(seeing, mining.erase(pixels, mask, fill), frozen)

    return erased


def main() -> None:
    arguments = stage.parser("train", __doc__)
    for name in ("images", "expressions", "proposals", "cams", "features", "matcher", "output-dir"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument(
        "--resume-dir", type=Path, help="where to keep what a rerun goes on from"
    )
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    read = stage.read_config(given.config)
    variant, seed = read["variant"], int(read["seed"])
    config = parse(TrainConfig, read["train"])
    model_config, losses_config = (
        parse(GrounderConfig, read["model"]),
        parse(LossesConfig, read["losses"]),
    )
    prepare(seed, given.threads)
    where = device()
    store = FeatureStore(given.features)
    networks = None
    if config.tuned.backbone or config.tuned.language:
        if config.tuned.language and losses_config.reconstruction:
            raise UserError(
                "train.tuned.language: losses.reconstruction rebuilds the language encoder's vectors, which"
                " must not move; set one of the two to 0"
            )
        networks = LiveFeatures(parse(FeaturesConfig, store.meta["config"]), config.tuned)
        store = LiveStore(given.features, given.images, networks.to(where))
        log.info("%d tensors of backbone and language train too", len(networks.trained()))
    proposals = ProposalTable(given.images, given.proposals)
    data = {}
    for split in ("train", "val"):
        pairs = Pairs(given.images, given.expressions, split, config.kinds)
        if len(pairs.images) < 2:
            raise UserError(
                f"{given.expressions}: split {split!r} has {len(pairs.images)} images with"
                f" expressions of the kinds {config.kinds}; training needs at least 2"
            )
        data[split] = GroundingData(
            pairs,
            store,
            proposals,
            given.cams,
            losses_config.distillation.threshold,
            model_config.cam_encoder.control,
        )
    model = Grounder(model_config, store.visual_channels, store.text_width)
    if config.init == "matcher":
        start_from_matcher(model, load_matcher(given.matcher, store)[0])
    mining_config = losses_config.attention_mining
    eraser = None
    if mining_config.weight and mining_config.erase == "image":
        eraser = pixel_eraser(
            store,
            given.images,
            mining_config.fill,
            where,
            networks.backbone if networks is not None else None,
            mining_config.scorer == "frozen",
        )
    objective = Objective(model, losses_config, eraser)
    learning = model if networks is None else WithFeatures(model, networks)
    optimiser = config.optimiser
    checks = list(data["val"].pairs.epoch(optimiser.batch_size, 1, np.random.default_rng(0)))

    def validate() -> dict[str, float]:
        parts = []
        for check in checks:
            batch = data["val"].load(check, where)
            seen, texts = (
                model.see(batch.features, batch.proposals),
                model.read(batch.tokens, batch.tokens_mask),
            )
            good = positives(batch.owner, batch.text_ids, len(batch.features))
            values = matching_scores(model.match(seen, texts), good)
            values["matching_score"] = values.pop("score")
            # the losses alone, without mining: captions, their swaps and the teacher, never a box
            with torch.enable_grad():
                held_out = objective(batch, 1, 1, mine=False)
            values |= {name: float(value) for name, value in held_out.items()}
            values["score"] = -values["loss"]
            parts.append(values)
        return mean_scores(parts)

    def losses(batch: Batch, step: int, total: int) -> dict[str, Tensor]:
        return objective(data["train"].load(batch, where), step, total)

    resume = given.resume_dir / "resume.pt" if given.resume_dir else None
    train_pairs = data["train"].pairs
    inputs = [
        *(given.images, given.expressions, given.proposals, given.cams),
        *(given.features / "features.json", given.matcher / "checkpoint.safetensors"),
    ]
    resolved = {
        "variant": variant,
        "seed": seed,
        "model": asdict(model_config),
        "losses": asdict(losses_config),
        "train": asdict(config),
        "features": store.meta["config"],
    }

    def keep(epoch: int) -> None:
        save_parameters(given.output_dir / EPOCHS / f"{epoch:03d}", learning, resolved)

    fitted = fit(
        learning,
        lambda rng: train_pairs.epoch(
            optimiser.batch_size, optimiser.per_image, rng, optimiser.images_per_epoch
        ),
        train_pairs.batches_per_epoch(optimiser.batch_size, optimiser.images_per_epoch),
        losses,
        validate,
        optimiser,
        seed,
        resume,
        identity_of("camground.train", read, inputs) if resume else "",
        label=f"{variant}/s{seed}",
        each_epoch=keep if config.keep_epochs else None,
        slow={PREFIX: config.tuned.rate},
    )
    counts = {"train_images": len(train_pairs.images), "train_expressions": len(train_pairs)}
    save_checkpoint(given.output_dir, learning, resolved, fitted, counts)
    if resume is not None:
        resume.unlink(missing_ok=True)


if __name__ == "__main__":
    stage.run("train", main)
