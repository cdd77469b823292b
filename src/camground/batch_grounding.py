"""Ground the pairs of a batch with a trained grounder: its scores, its own CAM, what erasing leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from camground.feature_store import FeatureStore
from camground.grounding_data import Loaded
from camground.losses import attention_mining as mining
from camground.losses.objective import LossesConfig
from camground.model.grounder import Grounded, Grounder, GrounderConfig
from camground.sections import parse


def load_grounder(saved: dict[str, Any], state: dict[str, Tensor], store: FeatureStore) -> Grounder:
    """The grounder of a checkpoint's resolved config and parameters, in evaluation mode."""
    model = Grounder(parse(GrounderConfig, saved["model"]), store.visual_channels, store.text_width)
    model.load_state_dict(state)
    return model.eval()


def ground_batch(model: Grounder, batch: Loaded) -> tuple[Grounded, Tensor, Tensor]:
    """Ground the own pairs of a loaded batch: `Grounded`, own CAM (M, H, W), final scores (M, K)."""
    with torch.enable_grad():
        visual = model.trunk(batch.features)[batch.owner].detach().requires_grad_()
        proposals = batch.proposals.take(batch.owner).extended(batch.map_boxes)
        read = model.read(batch.tokens, batch.tokens_mask)
        seen = model.see_map(visual, proposals)
        grounded = model.ground(seen, read, batch.shown_cam, batch.cam_known)
        cam = model.own_cam(grounded, visual, "none").detach()
    return grounded, cam, model.rescore(grounded, cam, proposals).detach()


@torch.no_grad()
def erased_scores(model: Grounder, losses: LossesConfig, batch: Loaded, cam: Tensor) -> Tensor:
    """S(I*, q) (M,), probabilities, after erasing features under the own CAM, in every variant."""
    config = losses.attention_mining
    mask = mining.soft_mask(cam, config.omega, config.sigma)
    features = mining.erase(batch.features[batch.owner], mask, config.fill)
    proposals = batch.proposals.take(batch.owner)
    logit: Tensor = model(features, proposals, batch.tokens, batch.tokens_mask)
    return logit.sigmoid()
