"""The grounder's objective: contrastive matching, matching through the fusion, distillation of the CAM
and attention mining, each with its weight.

The matcher's CAM of a positive pair was made for that very text; a negative pair has none, so showing
CAMs here would let the fusion tell positives by their CAM. The matching losses therefore withhold it
from all pairs, and the losses that need no negatives see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from camground.grounding_data import Loaded
from camground.losses import attention_mining as mining
from camground.losses.attention_mining import AttentionMiningConfig
from camground.losses.contrastive import info_nce, positives
from camground.losses.distillation import DistillationConfig, distillation, teacher
from camground.model.grounder import Grounded, Grounder, Proposals, Read, Seen

ImageErased = Callable[[np.ndarray, Tensor], Tensor]


@dataclass(frozen=True)
class LossesConfig:
    """Weights of the terms. `contrastive`: InfoNCE of the late scores; `matching`: binary matching of
    the fused image score against the hardest negatives of the batch (as ALBEF, Li et al. 2021, eq. 4).
    """

    contrastive: float = 1.0
    matching: float = 1.0
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    attention_mining: AttentionMiningConfig = field(default_factory=AttentionMiningConfig)


def hardest(logits: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled hard negatives: for each text an image, for each image a text, by softmax of the logits.

    logits (B, M), good (B, M) bool. Where an image or text has no negative in the batch the index is
    that of some positive; `matching_loss` gives such a pair no weight.
    """
    scores = logits.detach().masked_fill(good, -1e4)
    image_of_text = torch.multinomial(scores.T.softmax(-1), 1).squeeze(-1)
    text_of_image = torch.multinomial(scores.softmax(-1), 1).squeeze(-1)
    return image_of_text, text_of_image


def matching_loss(
    model: Grounder, seen: Seen, read: Read, owner: Tensor, logits: Tensor, good: Tensor
) -> Tensor:
    """Binary cross-entropy of the fused image score: own pairs against the batch's hard negatives."""
    image_of_text, text_of_image = hardest(logits, good)
    images = torch.cat([owner, image_of_text, torch.arange(len(logits), device=owner.device)])
    texts = torch.arange(len(owner), device=owner.device)
    texts = torch.cat([texts, texts, text_of_image])
    label = good[images, texts].float()
    label[: len(owner)] = 1
    grounded = model.ground(seen.take(images), read.take(texts), None)
    each = functional.binary_cross_entropy_with_logits(
        grounded.image_logit, label, reduction="none"
    )
    # drawn as negatives, yet positive: the batch had no negative for them
    weight = torch.ones_like(each)
    weight[len(owner) :] = 1 - label[len(owner) :]
    return (each * weight).sum() / weight.sum().clamp(min=1)


class Objective:
    """All terms for one batch: `__call__(batch, step, total)`, step from 0 of total steps of the whole
    training, returns named scalars, the sum as "loss". It keeps no state between steps."""

    def __init__(
        self, model: Grounder, config: LossesConfig, image_erased: ImageErased | None = None
    ) -> None:
        self.model, self.config = model, config
        self._image_erased = image_erased

    def __call__(self, batch: Loaded, step: int, total: int) -> dict[str, Tensor]:
        model, config = self.model, self.config
        seen = model.see(batch.features, batch.proposals)
        read = model.read(batch.tokens, batch.tokens_mask)
        logits = model.match(seen, read)
        good = positives(batch.owner, batch.text_ids, len(batch.features))
        values: dict[str, Tensor] = {"contrastive": info_nce(logits.float(), good)}
        loss = config.contrastive * values["contrastive"]
        if config.matching:
            values["matching"] = matching_loss(model, seen, read, batch.owner, logits, good)
            loss = loss + config.matching * values["matching"]

        mining_weight = self._mining_weight(step, total)
        if config.distillation.weight or config.attention_mining.weight:
            grounded, cam, scores, proposals = self._positives(
                batch, seen, read, exact=mining_weight > 0
            )
            if config.distillation.weight:
                target = teacher(config.distillation, batch.cam, batch.cam_box, proposals)
                values["distillation"] = distillation(scores, target, proposals.valid)
                loss = loss + config.distillation.weight * values["distillation"]
            if mining_weight > 0:
                mined = self._mine(batch, grounded, cam, read, proposals)
                values |= mined
                loss = loss + mining_weight * mined["mining_sum"]
        return {"loss": loss, **values}

    def _mining_weight(self, step: int, total: int) -> float:
        """The weight of attention mining at this step: it grows, and rests between every n-th step."""
        config = self.config.attention_mining
        if (step + 1) % config.every:
            return 0.0
        return config.weight * config.every * min(1.0, step / total / max(config.warmup, 1e-9))

    def _positives(
        self, batch: Loaded, seen: Seen, read: Read, exact: bool
    ) -> tuple[Grounded, Tensor, Tensor, Proposals]:
        """Ground the own pairs: `Grounded`, own CAM (M, H, W), final scores (M, K), proposals."""
        model, config = self.model, self.config.attention_mining
        proposals = batch.proposals.take(batch.owner)
        if len(batch.owner) != len(batch.features):
            # each pair needs a map of its own, or the Grad-CAMs of an image's texts would mix
            seen = model.see_map(seen.map[batch.owner], proposals)
        known = batch.cam_known
        if model.cam_encoder is not None and model.training:
            kept = torch.rand(len(known), device=known.device)
            known = known & (kept >= model.cam_encoder.config.dropout)
        grounded = model.ground(seen, read, batch.cam, known)
        cam = model.own_cam(grounded.image_logit, seen.map, config.order if exact else "first")
        return grounded, cam, model.rescore(grounded, cam, proposals), proposals

    def _mine(
        self, batch: Loaded, grounded: Grounded, cam: Tensor, read: Read, proposals: Proposals
    ) -> dict[str, Tensor]:
        """S(I*, q) and its companions (GAIN eq. 3 to 5)."""
        config = self.config.attention_mining
        mask = mining.soft_mask(cam, config.omega, config.sigma)
        features = batch.features[batch.owner]
        if config.erase == "image":
            if self._image_erased is None:
                raise ValueError("erasing pixels needs the backbone in the loop")
            erased = self._image_erased(batch.image_rows[batch.owner.cpu().numpy()], mask)
        else:
            erased = mining.erase(features, mask, config.fill)
        left = self._score(erased, proposals, batch.tokens, batch.tokens_mask)
        values = {
            "erased_score": left.mean(),
            "image_score": grounded.image_logit.sigmoid().mean().detach(),
            "mask_share": mask.mean().detach(),
            "size_penalty": mining.size_penalty(mask, config.size_limit),
        }
        total = values["erased_score"] + config.size_weight * values["size_penalty"]
        if config.keep_weight:
            kept = mining.erase(features, 1 - mask, config.fill)
            score = self._score(kept, proposals, batch.tokens, batch.tokens_mask)
            values["keep"] = (score - grounded.image_logit.sigmoid().detach()).abs().mean()
            total = total + config.keep_weight * values["keep"]
        return {**values, "mining_sum": total}

    def _score(
        self, features: Tensor, proposals: Proposals, tokens: Tensor, mask: Tensor
    ) -> Tensor:
        """S (P,), probabilities, of masked features; a frozen scorer's parameters get no gradient."""
        parameters: dict[str, Tensor] = dict(self.model.named_parameters())
        if self.config.attention_mining.scorer == "frozen":
            parameters = {name: value.detach() for name, value in parameters.items()}
        arguments = (features, proposals, tokens, mask)
        logit: Tensor = functional_call(self.model, parameters, arguments)
        return logit.sigmoid()
