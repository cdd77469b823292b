"""Binary matching of images and texts through the fusion module, and what one changed word changes.

The matcher's CAM of a positive pair was made for that very text; a negative pair has none, so showing
CAMs here would let the fusion tell positives by their CAM. It is withheld from all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from camground.grounder.batches import Loaded
from camground.grounder.grounder import Grounder
from camground.grounder.seen_and_read import Read, Seen


def hardest(logits: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    """Sampled hard negatives: for each text an image, for each image a text, by softmax of the logits.

    logits (B, M), good (B, M) bool. Where an image or text has no negative in the batch the index is
    that of some positive; `match` gives such a pair no weight.
    """
    scores = logits.detach().masked_fill(good, -1e4)
    image_of_text = torch.multinomial(scores.T.softmax(-1), 1).squeeze(-1)
    text_of_image = torch.multinomial(scores.softmax(-1), 1).squeeze(-1)
    return image_of_text, text_of_image


@dataclass
class Matched:
    """What the pairs without a CAM gave: the matching loss, the swap ranking, and the scores (M, K) of
    the own pairs, which rest on what was learnt from sentences alone."""

    matching: Tensor
    swap_ranking: Tensor
    scores: Tensor


def swap_ranking(own: Tensor, swapped: Tensor, valid: Tensor) -> Tensor:
    """-log sigmoid(s(q) - s(q')) at the proposals that q means, S rows; 0 where S is 0.

    own, swapped (S, K): scores by the expressions and by their swaps; a swap does not mean the same object,
    whether it is true of another one or not. Which proposal is meant is the model's own belief.
    """
    if not len(own):
        return own.new_zeros(())
    belief = own.detach().masked_fill(~valid, -1e4).softmax(-1)
    # padding scores minus infinity on both sides
    margin = torch.where(valid, own - swapped, torch.zeros_like(own))
    return -(belief * functional.logsigmoid(margin)).sum(-1).mean()


def match(
    model: Grounder,
    batch: Loaded,
    seen: Seen,
    read: Read,
    swap_read: Read | None,
    logits: Tensor,
    good: Tensor,
    swaps_negative: bool = True,
) -> Matched:
    """Own pairs, swaps of them, and the batch's hard negatives through the fusion, without CAMs.

    `swaps_negative` False: the matching loss passes over the swaps; they are ranked all the same.
    """
    owner = batch.owner
    count, device = len(owner), owner.device
    image_of_text, text_of_image = hardest(logits, good)
    swapped = batch.swapped.nonzero().squeeze(-1)
    texts = torch.arange(count, device=device)
    images = torch.cat([owner, image_of_text, torch.arange(len(logits), device=device)])
    queries = read.take(torch.cat([texts, texts, text_of_image]))
    label = good[images, torch.cat([texts, texts, text_of_image])].float()
    label[:count] = 1
    # drawn as negatives, yet positive: the batch had no negative for them
    weight = torch.cat([label.new_ones(count), 1 - label[count:]])
    if swap_read is not None:
        images = torch.cat([images, owner[swapped]])
        queries = Read.join(queries, swap_read)
        label = torch.cat([label, label.new_zeros(len(swapped))])
        # a swap that may be true of another object says nothing about the image as a whole
        weight = torch.cat([weight, batch.swap_false.float() * swaps_negative])
    grounded = model.ground(seen.take(images), queries, None)
    each = functional.binary_cross_entropy_with_logits(
        grounded.image_logit, label, reduction="none"
    )
    ranked = swap_ranking(
        grounded.scores[:count][swapped],
        grounded.scores[len(grounded.scores) - len(swapped) :],
        batch.proposals.valid[owner[swapped]],
    )
    return Matched((each * weight).sum() / weight.sum(), ranked, grounded.scores[:count])
