"""The grounder's objective: contrastive matching, matching through the fusion, distillation of the CAM
and attention mining, each with its weight.

The matching losses see no CAM (see `losses.matching`); the losses that need no negatives see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from camground.grounder.batches import Loaded
from camground.grounder.grounder import Grounder
from camground.grounder.own_boxes import Looked, look_twice
from camground.grounder.regions import Proposals
from camground.grounder.seen_and_read import Read, Seen
from camground.study.errors import UserError
from camground.training import attention_mining as mining
from camground.training.attention_mining import AttentionMiningConfig
from camground.training.contrastive import info_nce, positives
from camground.training.distillation import DistillationConfig, distillation, object_belief, teacher
from camground.training.matching import match
from camground.training.reconstruction import reconstruction, text_vectors

ImageErased = Callable[[np.ndarray, Tensor], Tensor]


@dataclass(frozen=True)
class LossesConfig:
    """Weights of the terms. `contrastive`: InfoNCE of the late scores; `matching`: binary matching of
    the fused image score against the hardest negatives of the batch (as ALBEF, Li et al. 2021, eq. 4) and
    against swaps that are false of the image. `swap_ranking`: the proposal that an expression means must
    score higher by it than by its swap. `matching_swaps`: swaps are among the negatives of the contrastive
    and the matching loss. `reconstruction`: of the expression from the proposals that it attends to; needs
    `model.reconstruction`.
    """

    contrastive: float = 1.0
    matching: float = 1.0
    matching_swaps: bool = True
    swap_ranking: float = 1.0
    reconstruction: float = 0.0
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    attention_mining: AttentionMiningConfig = field(default_factory=AttentionMiningConfig)


class Objective:
    """All terms for one batch: `__call__(batch, step, total)`, step from 0 of total steps of the whole
    training, returns named scalars, the sum as "loss". `mine` False leaves attention mining out. It keeps
    no state between steps."""

    def __init__(
        self, model: Grounder, config: LossesConfig, image_erased: ImageErased | None = None
    ) -> None:
        if config.reconstruction and model.decoder is None:
            raise UserError(
                "losses.reconstruction needs its decoder: set model.reconstruction: true, or the weight 0"
            )
        self.model, self.config = model, config
        self._image_erased = image_erased

    def __call__(
        self, batch: Loaded, step: int, total: int, mine: bool = True
    ) -> dict[str, Tensor]:
        model, config = self.model, self.config
        seen = model.see(batch.features, batch.proposals)
        read = model.read(batch.tokens, batch.tokens_mask)
        logits = model.match(seen, read)
        good = positives(batch.owner, batch.text_ids, len(batch.features))
        swap_read, extra, negative = self._swaps(batch, seen)
        if not config.matching_swaps:
            extra = negative = None
        values: dict[str, Tensor] = {
            "contrastive": info_nce(logits.float(), good, extra, negative),
        }
        loss = config.contrastive * values["contrastive"]
        belief: Tensor | None = None
        if config.matching or config.swap_ranking:
            matched = match(
                model, batch, seen, read, swap_read, logits, good, config.matching_swaps
            )
            belief = matched.scores.detach()
            for name in ("matching", "swap_ranking"):
                values[name] = getattr(matched, name)
                loss = loss + getattr(config, name) * values[name]

        mining_weight = self._mining_weight(step, total) if mine else 0.0
        if config.distillation.weight or config.attention_mining.weight or config.reconstruction:
            looked = self._positives(batch, seen, read, exact=mining_weight > 0)
            scores, proposals = looked.scores, looked.proposals
            if config.distillation.weight:
                trust = min(1.0, step / total / max(config.distillation.belief_warmup, 1e-9))
                if belief is not None and config.distillation.belief:
                    known = batch.proposals.take(batch.owner)
                    belief = object_belief(belief, known, proposals)
                target = teacher(
                    config.distillation, batch.cam, batch.cam_box, proposals, belief, trust
                )
                values["distillation"] = distillation(scores, target, proposals.valid)
                loss = loss + config.distillation.weight * values["distillation"]
            if config.reconstruction and model.decoder is not None:
                values["reconstruction"] = reconstruction(
                    model.decoder,
                    scores,
                    looked.regions,
                    proposals.valid,
                    text_vectors(batch.tokens, batch.tokens_mask),
                    batch.text_ids,
                )
                loss = loss + config.reconstruction * values["reconstruction"]
            if mining_weight > 0:
                mined = self._mine(batch, looked)
                values |= mined
                loss = loss + mining_weight * mined["mining_sum"]
        return {"loss": loss, **values}

    def _swaps(self, batch: Loaded, seen: Seen) -> tuple[Read | None, Tensor | None, Tensor | None]:
        """The swaps' texts, their late scores (images, S) and where they are negatives, bool alike."""
        if not len(batch.swap_tokens):
            return None, None, None
        read = self.model.read(batch.swap_tokens, batch.swap_mask)
        extra = self.model.match(seen, read).float()
        owner = batch.owner[batch.swapped]
        own = owner.unsqueeze(0) == torch.arange(len(extra), device=extra.device).unsqueeze(1)
        return read, extra, ~own | batch.swap_false.unsqueeze(0)

    def _mining_weight(self, step: int, total: int) -> float:
        """The weight of attention mining at this step: it grows, and rests between every n-th step."""
        config = self.config.attention_mining
        if (step + 1) % config.every:
            return 0.0
        return config.weight * config.every * min(1.0, step / total / max(config.warmup, 1e-9))

    def _positives(self, batch: Loaded, seen: Seen, read: Read, exact: bool) -> Looked:
        """Ground the own pairs."""
        model, config = self.model, self.config.attention_mining
        if len(batch.owner) != len(batch.features):
            # each pair needs a map of its own, or the Grad-CAMs of an image's texts would mix
            seen = model.see_map(seen.map[batch.owner], batch.proposals.take(batch.owner))
        known = batch.cam_known
        if model.cam_encoder is not None and model.training:
            kept = torch.rand(len(known), device=known.device)
            known = known & (kept >= model.cam_encoder.config.dropout)
        order = config.order if exact else "none"
        return look_twice(model, seen, read, batch.shown_cam, known, order)

    def _mine(self, batch: Loaded, looked: Looked) -> dict[str, Tensor]:
        """S(I*, q) and its companions (GAIN eq. 3 to 5)."""
        config = self.config.attention_mining
        if (
            config.scorer == "frozen"
        ):  # networks that train along get no gradient but through the mask
            batch = replace(batch, features=batch.features.detach(), tokens=batch.tokens.detach())
        grounded, proposals = looked.first, batch.proposals.take(batch.owner)
        mask = mining.soft_mask(looked.cam, config.omega, config.sigma)
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
