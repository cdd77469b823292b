"""Two phrases of one caption do not share a box.

A caption that says "a girl in a pink dress" names two things, and a map that cannot tell a dress from its
wearer gives both the same box. Their beliefs over the image's proposals are therefore kept from agreeing: an
unlikelihood (Welleck et al. 2020) of naming one thing. Boxes that lie in one another may both be
believed in; what counts is the squared IoU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from camground.grounder.regions import pairwise_iou

# Cosine of the language encoder's vectors from which two phrases may mean one thing, as "child" and "girl".
ALIKE = 0.5
# What is left of log(1 - overlap) where the beliefs agree wholly.
FLOOR = 1e-3


def exclusion(scores: Tensor, boxes: Tensor, valid: Tensor, apart: Tensor) -> Tensor:
    """Mean of -log(1 - overlap) over the pairs of texts that are `apart`, scalar; 0 without any.

    scores (M, K) logits of the K proposals of each text's image, boxes (M, K, 4) xyxy in [0, 1], valid (M, K)
    bool; apart (M, M) bool, symmetric: texts of one image that name different things. The overlap of two
    texts is the mean squared IoU of two boxes drawn from their beliefs, softmax of the scores.
    """
    first, second = apart.triu(1).nonzero(as_tuple=True)
    if not len(first):
        return scores.new_zeros(())
    belief = scores.float().masked_fill(~valid, -1e4).softmax(-1)
    near = pairwise_iou(boxes[first], boxes[second]).square().to(belief)
    overlap = torch.einsum("pk,pkl,pl->p", belief[first], near, belief[second])
    return -(1 - overlap).clamp(min=FLOOR).log().mean()


def unlike(vectors: Tensor) -> Tensor:
    """(M, M) bool: texts whose `Texts.vector` (M, text_width) say that they name different things."""
    vectors = functional.normalize(vectors.detach().float(), dim=-1)
    return vectors @ vectors.T < ALIKE
