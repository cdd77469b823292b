"""Contrastive matching of images and texts in a batch (InfoNCE, van den Oord et al. 2018, eq. 4).

Both directions, with several positives: an expression of the same image, or one of the same text, is
never a negative.
"""

from __future__ import annotations

import torch
from torch import Tensor


def positives(text_image: Tensor, text_id: Tensor, images: int) -> Tensor:
    """(images, texts) bool: text j belongs to image i, or reads the same as a text that does.

    text_image (texts,) int: index of each text's image. text_id (texts,) int: equal for equal texts.
    """
    own = text_image.unsqueeze(0) == torch.arange(images, device=text_image.device).unsqueeze(1)
    same = text_id.unsqueeze(0) == text_id.unsqueeze(1)
    return (own.float() @ same.float()) > 0


def info_nce(
    logits: Tensor, positive: Tensor, extra: Tensor | None = None, negative: Tensor | None = None
) -> Tensor:
    """Mean over images and texts of -log of the positives' mean probability ratio; scalar, at least 0.

    logits (images, texts); positive (images, texts) bool with at least one in each row and column.
    Each positive competes with the negatives alone, not with other positives. extra (images, S): logits
    of texts that are nobody's, and negative (images, S) bool where one is false of the image: further
    negatives of the images.
    """
    loss = logits.new_zeros(())
    for scores, good in ((logits, positive), (logits.T, positive.T)):
        others = scores.masked_fill(good, -torch.inf)
        if extra is not None and negative is not None and scores is logits:
            others = torch.cat([others, extra.masked_fill(~negative, -torch.inf)], 1)
        against = torch.logsumexp(others, 1, keepdim=True)
        each = torch.logaddexp(scores, against) - scores
        each = torch.where(good, each, torch.zeros_like(each))
        loss = loss + (each.sum(1) / good.sum(1)).mean()
    return loss / 2
