"""Training the grounder of one variant and seed, from image-sentence pairs and CAMs alone.

Selected on captions: the epoch whose losses on the val split, mining left out, are lowest. No box of any
target is among the inputs; the boxes that each epoch chooses on val are left for `evaluate` to measure.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from camground.data.pairs import PairBatch
from camground.features.backbone import Backbone
from camground.features.config import FeaturesConfig
from camground.features.store import FeatureStore
from camground.features.tuned import PREFIX, TunedFeatures, TunedStore, backbone_pass, load_pixels
from camground.grounder.batches import GroundingData, ProposalTable
from camground.grounder.config import GrounderConfig
from camground.grounder.erasing import erase
from camground.grounder.grounder import Grounder, GroundingOutput
from camground.matcher.matcher import load_matcher
from camground.study import tables
from camground.study.devices import prepare_torch
from camground.study.progress import log
from camground.training.attention_mining import EraseImage
from camground.training.config import LossesConfig, TrainConfig
from camground.training.loop import Validation, run_training, training_pairs
from camground.training.objective import Objective


def train_grounder(
    grounder_config: GrounderConfig,
    losses: LossesConfig,
    train: TrainConfig,
    variant: str,
    seed: int,
    images: Path,
    expressions: Path,
    proposals: Path,
    cams: Path,
    teacher_cams: Path,
    features: Path,
    matcher: Path,
    output: Path,
    resume: Path | None,
    threads: int,
) -> None:
    """Train the grounder of one variant and seed; `output`, `resume`: as of `run_training`."""
    device = prepare_torch(threads, seed)
    store, tuned, networks = FeatureStore(features), train.tuned, None
    if tuned.backbone or tuned.language:
        config = FeaturesConfig.parse(store.meta["config"], "features")
        networks = TunedFeatures(config, tuned.backbone, tuned.language).to(device)
        log.info("%d tensors of the backbone and the language encoder train too", len(networks.trained()))
        store = TunedStore(features, images, networks)
    pairs = training_pairs(images, expressions, ["phrase"])
    reads_labels = grounder_config.labels.enabled or losses.distillation.label
    table = ProposalTable(images, proposals, store if reads_labels else None)
    control = grounder_config.cam_encoder.control
    # drawn around the maps of all of train, which takes long where it counts for nothing
    thresholds = losses.distillation.thresholds if losses.distillation.box else ()
    data, val = (GroundingData(each, store, table, cams, thresholds, control, teacher_cams) for each in pairs)
    trained_matcher = load_matcher(matcher)
    torch.manual_seed(seed)
    labels = bool(table.label_names)
    grounder = Grounder(
        trained_matcher, grounder_config, losses.of_candidates, labels, bool(losses.region_contrast)
    )
    erase_image = None
    if losses.attention_mining.weight and losses.attention_mining.erase == "image":
        frozen = losses.attention_mining.scorer == "frozen"
        backbone = networks.backbone if networks is not None else None
        erase_image = image_eraser(store, images, device, backbone, frozen)
    objective = Objective(grounder, losses, erase_image)
    trainable = nn.ModuleDict({"objective": objective})
    if networks is not None:
        trainable["features"] = networks  # `PREFIX` of their parameters

    def step_losses(batch: PairBatch, step: int, epoch: float) -> dict[str, Tensor]:
        values: dict[str, Tensor] = objective(data.load(batch, device), step, epoch)
        return values

    def parameters() -> dict[str, Tensor]:
        along = {} if networks is None else networks.trained()
        return {**grounder.state_dict(), **{PREFIX + name: value for name, value in along.items()}}

    run_training(
        trainable,
        *pairs,
        step_losses,
        lambda batch: validated(objective, val, batch, device),
        train.optimiser,
        seed,
        label=f"{variant}/s{seed}",
        stage="camground.stages.train",
        inputs=[
            *(images, expressions, proposals, cams, teacher_cams),
            *(features / "features.json", matcher / "checkpoint.safetensors"),
        ],
        resolved={
            "variant": variant,
            "seed": seed,
            "grounder": grounder_config.to_dict(),
            "losses": losses.to_dict(),
            "train": train.to_dict(),
            "matcher": trained_matcher.config.to_dict(),
            "features": store.meta["config"],
        },
        parameters=parameters,
        output=output,
        resume=resume,
        slow={PREFIX: tuned.rate},
    )


def validated(
    objective: Objective, data: GroundingData, indices: PairBatch, device: torch.device
) -> Validation:
    """The losses on a batch of the val split without mining, and the boxes of the highest scores.

    "score" is minus the losses' sum: it depends on captions, their swaps and the teacher, never on a box of
    a target. `evaluate` compares the boxes with the targets, once all trainings are done.
    """
    batch = data.load(indices, device)
    output: GroundingOutput = objective.grounder(*batch.inputs)
    terms = objective.without_mining(batch, output)
    values = {name: float(value) for name, value in terms.items()}
    best, chosen = output.choice.max(-1)
    boxes = output.candidates.boxes[torch.arange(len(best), device=device), chosen]
    boxes = boxes.masked_fill(~best.isfinite().unsqueeze(1), torch.nan).cpu()
    sizes = data.proposals.sizes[data.pairs.image_rows[indices.expressions]]
    return Validation({**values, "score": -values["loss"]}, boxes * torch.from_numpy(np.tile(sizes, 2)))


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
