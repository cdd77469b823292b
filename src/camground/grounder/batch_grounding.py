"""Ground the pairs of a batch with a trained grounder: its scores, its own CAM, what erasing leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camground.features.store import FeatureStore
from camground.features.tuned import LiveStore, split, trained_features
from camground.grounder.batches import Loaded
from camground.grounder.grounder import Grounder, GrounderConfig
from camground.grounder.own_boxes import Looked, look_twice
from camground.study.sections import parse
from camground.training import attention_mining as mining
from camground.training.objective import LossesConfig


def load_grounder(saved: dict[str, Any], state: dict[str, Tensor], store: FeatureStore) -> Grounder:
    """The grounder of a checkpoint's resolved config and parameters, in evaluation mode.

    `store`: the features' cache, or where some of their networks were trained, `open_store`'s.
    """
    model = Grounder(parse(GrounderConfig, saved["model"]), store.visual_channels, store.text_width)
    model.load_state_dict(split(state)[0])
    return model.eval()


def open_store(
    saved: dict[str, Any],
    state: dict[str, Tensor],
    features: Path,
    images: Path,
    where: torch.device,
) -> FeatureStore:
    """The features that a checkpoint reads: the cache, with its own networks where it trained some."""
    networks = trained_features(saved, state)
    if networks is None:
        return FeatureStore(features)
    return LiveStore(features, images, networks.to(where))


def ground_batch(model: Grounder, batch: Loaded) -> Looked:
    """Ground the own pairs of a loaded batch, without a gradient on the CAM and the scores."""
    with torch.enable_grad():
        visual = model.trunk(batch.features)[batch.owner].detach().requires_grad_()
        read = model.read(batch.tokens, batch.tokens_mask)
        seen = model.see_map(visual, batch.proposals.take(batch.owner))
        looked = look_twice(model, seen, read, batch.shown_cam, batch.cam_known, "none")
    return replace(looked, cam=looked.cam.detach(), scores=looked.scores.detach())


@torch.no_grad()
def erased_scores(model: Grounder, losses: LossesConfig, batch: Loaded, cam: Tensor) -> Tensor:
    """S(I*, q) (M,), probabilities, after erasing features under the own CAM, in every variant."""
    config = losses.attention_mining
    mask = mining.soft_mask(cam, config.omega, config.sigma)
    features = mining.erase(batch.features[batch.owner], mask, config.fill)
    proposals = batch.proposals.take(batch.owner)
    logit: Tensor = model(features, proposals, batch.tokens, batch.tokens_mask)
    return logit.sigmoid()
