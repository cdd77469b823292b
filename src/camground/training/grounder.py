"""Training the grounder of one variant and seed, from image-sentence pairs and CAMs alone.

Selected on captions: the epoch whose losses on the val split, mining left out, are lowest. No box of any
target is among the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from camground.data.pairs import PairBatch, Pairs
from camground.features.backbone import Backbone
from camground.features.config import FeaturesConfig
from camground.features.store import FeatureStore
from camground.features.tuned import PREFIX, TunedFeatures, TunedStore, backbone_pass, load_pixels
from camground.grounder.batches import GroundingBatch, GroundingData, ProposalTable
from camground.grounder.config import GrounderConfig
from camground.grounder.erasing import erase
from camground.grounder.grounder import Grounder
from camground.matcher.loading import load_matcher
from camground.study import tables
from camground.study.checkpoints import save_checkpoint
from camground.study.devices import prepare_torch
from camground.study.errors import UserError
from camground.study.progress import log
from camground.training.attention_mining import EraseImage
from camground.training.config import LossesConfig, TrainConfig
from camground.training.loop import fit, identity_of, write_results
from camground.training.matcher import mean_scores
from camground.training.objective import Objective

EPOCHS = "epochs"  # folder of the checkpoints that `train.keep_epochs` keeps


@dataclass(frozen=True)
class Inputs:
    """Files and folders that the training reads."""

    images: Path
    expressions: Path
    proposals: Path
    cams: Path
    features: Path
    matcher: Path

    def files(self) -> list[Path]:
        """The files that the trained parameters depend on."""
        tables_ = [self.images, self.expressions, self.proposals, self.cams]
        folders = [self.features / "features.json", self.matcher / "checkpoint.safetensors"]
        return [*tables_, *folders]


class _Learning(nn.Module):
    """What trains: the objective with the grounder in it, and the networks that train along."""

    def __init__(self, objective: Objective, networks: TunedFeatures | None) -> None:
        super().__init__()
        self.objective, self.features = objective, networks

    def checkpoint(self) -> dict[str, Tensor]:
        """The grounder's parameters by its own names, the networks' trained ones behind `PREFIX`."""
        state: dict[str, Tensor] = dict(self.objective.grounder.state_dict())
        if self.features is not None:
            trained = self.features.trained()
            state |= {PREFIX + name: value.detach() for name, value in trained.items()}
        return state


def train_grounder(
    grounder_config: GrounderConfig,
    losses: LossesConfig,
    train: TrainConfig,
    box_threshold: float,
    variant: str,
    seed: int,
    inputs: Inputs,
    output: Path,
    resume: Path | None,
    threads: int,
) -> None:
    """Write checkpoint, resolved config, history and summary of one training into `output`.

    box_threshold: of the CAM's box for the teacher, a share of the map's maximum. resume: the folder to
    resume an interrupted training from, emptied at the end.
    """
    device = prepare_torch(threads, seed)
    store, networks = open_features(inputs, train, device)
    control = grounder_config.cam_encoder.control
    proposals = ProposalTable(inputs.images, inputs.proposals)
    data = {}
    for split in ("train", "val"):
        pairs = Pairs(inputs.images, inputs.expressions, split, ["phrase"])
        if len(pairs.images) < 2:
            raise UserError(
                f"{inputs.expressions}: split {split!r} has {len(pairs.images)} images with phrases;"
                " training needs at least 2"
            )
        data[split] = GroundingData(pairs, store, proposals, inputs.cams, box_threshold, control)
    matcher = load_matcher(inputs.matcher)
    torch.manual_seed(seed)
    grounder = Grounder(matcher, grounder_config)
    erase_image = None
    if losses.attention_mining.weight and losses.attention_mining.erase == "image":
        frozen = losses.attention_mining.scorer == "frozen"
        backbone = networks.backbone if networks is not None else None
        erase_image = image_eraser(store, inputs.images, device, backbone, frozen)
    objective = Objective(grounder, losses, erase_image)
    learning = _Learning(objective, networks)
    optimiser, pairs = train.optimiser, data["train"].pairs
    checks = list(data["val"].pairs.epoch(optimiser.batch_size, 1, np.random.default_rng(0)))

    def validate() -> dict[str, float]:
        batches = (data["val"].load(check, device) for check in checks)
        return mean_scores([validation_scores(objective, batch) for batch in batches])

    def step_losses(batch: PairBatch, step: int, total: int) -> dict[str, Tensor]:
        values: dict[str, Tensor] = objective(data["train"].load(batch, device), step, total)
        return values

    parts = {"grounder": grounder_config, "losses": losses, "train": train}
    resolved = {
        "variant": variant,
        "seed": seed,
        "box_threshold": box_threshold,
        **{name: section.to_dict() for name, section in parts.items()},
        "matcher": matcher.config.to_dict(),
        "features": store.meta["config"],
    }

    def keep(epoch: int) -> None:
        save_checkpoint(output / EPOCHS / f"{epoch:03d}", learning.checkpoint(), resolved)

    resume_file = resume / "resume.pt" if resume else None
    fitted = fit(
        learning,
        lambda rng: pairs.epoch(optimiser.batch_size, optimiser.per_image, rng, optimiser.images_per_epoch),
        pairs.batches_per_epoch(optimiser.batch_size, optimiser.images_per_epoch),
        step_losses,
        validate,
        optimiser,
        seed,
        label=f"{variant}/s{seed}",
        resume=resume_file,
        identity=identity_of("camground.stages.train", resolved, inputs.files()) if resume else "",
        each_epoch=keep if train.keep_epochs else None,
        slow={PREFIX: train.tuned.rate},
    )
    save_checkpoint(output, learning.checkpoint(), resolved)
    counts = {"train_images": len(pairs.images), "train_expressions": len(pairs)}
    write_results(output, learning, fitted, **counts)
    if resume_file is not None:
        resume_file.unlink(missing_ok=True)


def validation_scores(objective: Objective, batch: GroundingBatch) -> dict[str, float]:
    """The losses on a batch of the val split without mining; "score" is minus their sum.

    It depends on captions, their swaps and the teacher, never on a box."""
    values = {name: float(value) for name, value in objective(batch, 1, 1, mine=False).items()}
    return {**values, "score": -values["loss"]}


def open_features(
    inputs: Inputs, train: TrainConfig, device: torch.device
) -> tuple[FeatureStore, TunedFeatures | None]:
    """The store of features and, where the backbone or the language encoder trains too, these networks."""
    store, tuned = FeatureStore(inputs.features), train.tuned
    if not tuned.backbone and not tuned.language:
        return store, None
    features = FeaturesConfig.parse(store.meta["config"], "features")
    networks = TunedFeatures(features, tuned.backbone, tuned.language).to(device)
    log.info("%d tensors of the backbone and the language encoder train too", len(networks.trained()))
    return TunedStore(inputs.features, inputs.images, networks), networks


def image_eraser(
    store: FeatureStore,
    images: Path,
    device: torch.device,
    backbone: Backbone | None = None,
    frozen: bool = True,
) -> EraseImage:
    """Erase pixels and run the backbone on what is left (GAIN, Li et al. 2018, eq. 3).

    `backbone`: the one that trains, else the frozen one. `frozen`: no gradient to its parameters.
    """
    config = FeaturesConfig.parse(store.meta["config"], "features")
    seeing = (backbone or Backbone(config.backbone)).to(device)
    paths = tables.image_paths(images)

    def erased(rows: np.ndarray, mask: Tensor) -> Tensor:
        return backbone_pass(seeing, erase(load_pixels(paths, rows, seeing), mask), frozen)

    return erased
