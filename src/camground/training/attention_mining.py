"""Attention mining (GAIN, Li et al. 2018, eq. 3 to 5), moved to grounding.

The own Grad-CAM A is turned into a soft mask T; what the mask covers is erased, and the score that is left,
S(I*, q), should be small: whatever still carries the expression after erasing should have been in the map.
S is a probability, since a contrastive score is unbounded below, and is computed exactly as S(I, q) is. A
size penalty and a keep term keep the map from covering everything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call

from camground.grounder.batches import GroundingBatch
from camground.grounder.erasing import erase, soft_mask
from camground.grounder.grounder import Grounder, GroundingOutput
from camground.grounder.regions import Proposals
from camground.training.config import AttentionMiningConfig

# Backbone features (P, C, H, W) of the images at these rows with the mask (P, h, w) erased from the pixels.
EraseImage = Callable[[np.ndarray, Tensor], Tensor]


class ImageProbability(nn.Module):
    """S(I, q) (P,), a probability, as a module of its own, whose parameters `functional_call` can freeze."""

    def __init__(self, grounder: Grounder) -> None:
        super().__init__()
        self.grounder = grounder

    def forward(self, stem: Tensor, proposals: Proposals, tokens: Tensor, mask: Tensor) -> Tensor:
        """Of the stem's output (P, width, H, W), proposals and tokens (P, T, text_width) with mask (P, T)."""
        texts = self.grounder.matcher.read(tokens, mask)
        return self.grounder.score_images(stem, proposals, texts).logit.sigmoid()


class AttentionMining:
    """The mining term of a batch; see the module's docstring."""

    def __init__(
        self, grounder: Grounder, config: AttentionMiningConfig, erase_image: EraseImage | None = None
    ) -> None:
        self.score, self.config = ImageProbability(grounder), config
        self._erase_image = erase_image

    def weight(self, step: int, epoch: float) -> float:
        """The weight at this step, with so many epochs done: it grows during the warm-up; 0 except at every
        n-th step."""
        config = self.config
        if not config.weight or (step + 1) % config.every:
            return 0.0
        return config.weight * config.every * min(1.0, epoch / max(config.warmup, 1e-9))

    def __call__(self, batch: GroundingBatch, output: GroundingOutput) -> dict[str, Tensor]:
        """S(I*, q) and the other terms, scalars; their weighted sum is "mining_sum"."""
        config, owner = self.config, batch.owner
        stem, proposals, tokens = output.stem[owner], batch.proposals.take(owner), batch.tokens
        if config.scorer == "frozen":
            # the stem, and networks that train along, get no gradient but through the mask
            stem, proposals, tokens = stem.detach(), proposals.detach(), tokens.detach()
        texts = tokens, batch.mask
        assert output.own_cam is not None  # `order` asks for it
        mask = soft_mask(output.own_cam, config.omega, config.sigma)
        if config.erase == "image":
            assert self._erase_image is not None
            features = self._erase_image(batch.image_rows[owner.cpu().numpy()], mask)
            erased = self._call(self.score.grounder.matcher.trunk.stem, features)
        else:
            erased = erase(stem, mask)
        score = output.image_score.logit.sigmoid().detach()
        values = {
            "erased_score": self._call(self.score, erased, proposals.erased(mask), *texts).mean(),
            "image_score": score.mean(),
            "mask_share": mask.mean().detach(),
            "size_penalty": size_penalty(mask, config.size_limit),
        }
        total = values["erased_score"] + config.size_weight * values["size_penalty"]
        if config.keep_weight:
            rest = 1 - mask
            kept = self._call(self.score, erase(stem, rest), proposals.erased(rest), *texts)
            values["keep"] = (kept - score).abs().mean()
            total = total + config.keep_weight * values["keep"]
        return {**values, "mining_sum": total}

    def _call(self, module: nn.Module, *arguments: object) -> Tensor:
        """The module's output; a frozen scorer's parameters get no gradient."""
        parameters: dict[str, Tensor] = dict(module.named_parameters())
        if self.config.scorer == "frozen":
            parameters = {name: value.detach() for name, value in parameters.items()}
        output: Tensor = functional_call(module, parameters, arguments)
        return output


def size_penalty(mask: Tensor, limit: float) -> Tensor:
    """Mean of max(0, mean T - limit): what keeps the mask from covering the whole image."""
    return (mask.mean((1, 2)) - limit).clamp(min=0).mean()
