"""Contrastive matching of images and texts in a batch (InfoNCE, van den Oord et al. 2018, eq. 4).

Both directions, with several positives: an expression of the same image, or one of the same text, is
never a negative.
"""

from __future__ import annotations

import torch
from torch import Tensor


def positives(owner: Tensor, text_ids: Tensor, images: int) -> Tensor:
    """(images, texts) bool: text j belongs to image i, or reads the same as a text that does.

    owner (texts,) int: index of each text's image. text_ids (texts,) int: equal for equal texts.
    """
    own = owner.unsqueeze(0) == torch.arange(images, device=owner.device).unsqueeze(1)
    same = text_ids.unsqueeze(0) == text_ids.unsqueeze(1)
    return (own.float() @ same.float()) > 0


def info_nce(
    logits: Tensor, positive: Tensor, extra_logits: Tensor | None = None, extra_negative: Tensor | None = None
) -> Tensor:
    """Mean over images and texts of -log of the positives' mean probability ratio; scalar, at least 0.

    logits (images, texts); positive (images, texts) bool with at least one in each row and column.
    Each positive competes with the negatives alone, not with other positives. extra_logits (images, S)
    are of texts that belong to no image of the batch; where extra_negative (images, S) bool says that one is
    false of the image, it is a further negative.
    """
    loss = logits.new_zeros(())
    for scores, positive_of in ((logits, positive), (logits.T, positive.T)):
        negatives = scores.masked_fill(positive_of, -torch.inf)
        if extra_logits is not None and extra_negative is not None and scores is logits:
            extra = extra_logits.masked_fill(~extra_negative, -torch.inf)
            negatives = torch.cat([negatives, extra], 1)
        against = torch.logsumexp(negatives, 1, keepdim=True)
        each = torch.logaddexp(scores, against) - scores
        each = torch.where(positive_of, each, torch.zeros_like(each))
        loss = loss + (each.sum(1) / positive_of.sum(1)).mean()
    return loss / 2


def recall_at_1(logits: Tensor, positive: Tensor) -> Tensor:
    """Share of the texts whose best image is a positive one, scalar; both (images, texts)."""
    columns = torch.arange(logits.shape[1], device=logits.device)
    return positive[logits.argmax(0), columns].float().mean()
