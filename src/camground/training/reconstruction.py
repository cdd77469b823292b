"""Reconstruction of the expression from the proposals that it attends to.

After the language reconstruction of ARN (Liu et al. 2019, ICCV, Adaptive Reconstruction Network for
weakly supervised referring expression grounding): the scores' softmax is an attention over proposals, and
the expression must be read off the attended region vector, so the attention has to fall on what the
expression says. ARN decodes word by word with an LSTM and cross-entropy; here a small decoder predicts the
mean of the frozen token vectors, and the cosine with it must be larger than with the other expressions of
the batch (InfoNCE). Cosine distance alone could be lowered by the mean expression, whatever the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from camground.training.contrastive import info_nce

TEMPERATURE = 0.07  # of the cosines, the starting value of CLIP (Radford et al. 2021)


class Reconstruction(nn.Module):
    """The loss with its decoder, from a region vector to the language encoder's space."""

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, text_width))

    def forward(
        self, scores: Tensor, regions: Tensor, valid: Tensor, target: Tensor, text_ids: Tensor
    ) -> Tensor:
        """The contrastive reconstruction loss, scalar, at least 0; its gradient reaches scores and regions.

        scores (M, K), logits, and regions (M, K, width) of the own pairs, valid (M, K) bool; target
        (M, text_width) unit vectors, `Texts.vector`; text_ids (M,): equal texts are no negatives of each
        other. Pairs whose image has no proposals are left out.
        """
        kept = valid.any(-1)
        if not kept.any():
            return regions.new_zeros(())
        attention = scores.masked_fill(~valid, -1e4)[kept].softmax(-1)
        attended = torch.einsum("mk,mkd->md", attention, regions[kept])
        predicted = functional.normalize(self.decoder(attended), dim=-1)
        cosines = predicted @ target[kept].T
        same = text_ids[kept].unsqueeze(0) == text_ids[kept].unsqueeze(1)
        return info_nce(cosines.float() / TEMPERATURE, same)
