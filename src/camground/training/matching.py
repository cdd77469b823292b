"""Binary matching of images and texts by the image score, and what one changed word changes.

The image score sees no CAM: the matcher's CAM of a positive pair was made for that very text and a negative
pair has none, so showing CAMs would let the fusion tell positives by their CAM.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from camground.grounder.batches import SwapBatch
from camground.grounder.grounder import Grounder, Images, ImageScore
from camground.matcher.matcher import Texts


def hardest(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled hard negatives: for each text an image, for each image a text, by softmax of the logits.

    logits (B, M), positive (B, M) bool. Where an image or text has no negative in the batch, the index is
    that of a positive, which `matching` gives no weight.
    """
    scores = logits.detach().masked_fill(positive, -1e4)
    image_of_text = torch.multinomial(scores.T.softmax(-1), 1).squeeze(-1)
    text_of_image = torch.multinomial(scores.softmax(-1), 1).squeeze(-1)
    return image_of_text, text_of_image


def swap_ranking(scores: Tensor, swap_scores: Tensor, valid: Tensor) -> Tensor:
    """-log sigmoid(s(q) - s(q')) at the proposals that q means, S rows; 0 where S is 0.

    scores, swap_scores (S, K): by the expressions and by their swaps; a swap does not mean the same object,
    whether it is true of another one or not. Which proposal is meant is the model's own belief.
    """
    if not len(scores):
        return scores.new_zeros(())
    belief = scores.detach().masked_fill(~valid, -1e4).softmax(-1)
    # padding scores minus infinity on both sides
    margin = torch.where(valid, scores - swap_scores, torch.zeros_like(scores))
    return -(belief * functional.logsigmoid(margin)).sum(-1).mean()


def matching(
    grounder: Grounder,
    images: Images,
    texts: Texts,
    owner: Tensor,
    own: ImageScore,
    contrastive_logits: Tensor,
    positive: Tensor,
    cells: Tensor | None,
    swaps: SwapBatch | None = None,
    swaps_negative: bool = True,
) -> tuple[Tensor, Tensor]:
    """The matching loss (ALBEF, Li et al. 2021, eq. 4) and the swap ranking, scalars.

    images: B; texts: M, of the images `owner` (M,), and then those of the swaps, with their
    `Grounder.all_similarities`, cells; own: the image scores of the M pairs; contrastive_logits (B, M) and
    positive (B, M) bool choose the hard negatives. `swaps_negative` False: the matching loss
    passes over the swaps; they are ranked all the same.
    """
    image_of_text, text_of_image = hardest(contrastive_logits, positive)
    text_rows = torch.arange(len(owner), device=owner.device)
    image_rows = torch.arange(len(positive), device=owner.device)
    rows = torch.cat([image_of_text, image_rows])
    columns = torch.cat([text_rows, text_of_image])
    # drawn as negatives, yet positive: the batch had no negative for them
    weight = 1 - positive[rows, columns].float()
    if swaps is not None:
        rows = torch.cat([rows, owner[swaps.expression]])
        columns = torch.cat([columns, len(owner) + torch.arange(len(swaps.false), device=owner.device)])
        # a swap that may be true of another object says nothing about the image as a whole
        weight = torch.cat([weight, swaps.false.float() * swaps_negative])
    similarity = None if cells is None else cells[rows, columns]
    other = grounder.image_score(images.take(rows), texts.take(columns), similarity)
    logits = torch.cat([own.logit, other.logit])
    label = torch.cat([torch.ones_like(own.logit), torch.zeros_like(other.logit)])
    weight = torch.cat([weight.new_ones(len(owner)), weight])
    each = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    loss = (each * weight).sum() / weight.sum()
    if swaps is None:
        return loss, loss.new_zeros(())
    scores = own.proposal_scores[swaps.expression]
    swap_scores = other.proposal_scores[-len(swaps.false) :]
    valid = images.proposals.valid[owner[swaps.expression]]
    return loss, swap_ranking(scores, swap_scores, valid)
