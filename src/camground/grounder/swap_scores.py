"""What a trained grounder makes of each word swap beside the expression it was made from.

Both texts are read without the matcher's CAM, which belongs to the true expression alone, and before the
own map speaks: the two differ in their words and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from camground.data.pairs import Pairs
from camground.features.store import FeatureStore
from camground.grounder.batches import ProposalTable
from camground.grounder.grounder import Grounder


def chunks(pairs: Pairs, size: int) -> Iterator[np.ndarray]:
    """Every row of `pairs.swaps` once, those of an image together, with about `size` texts to read in
    each chunk."""
    order = np.argsort(pairs.image_rows[pairs.swaps.of], kind="stable")
    step = max(size // 2, 1)
    for start in range(0, len(order), step):
        yield order[start : start + step]


@torch.no_grad()
def swap_rows(
    model: Grounder,
    pairs: Pairs,
    store: FeatureStore,
    proposals: ProposalTable,
    image_ids: list[str],
    which: np.ndarray,
    where: torch.device,
) -> list[dict]:
    """Rows of the `swap_scores` table of swaps `which` (S,), rows of `pairs.swaps`.

    `image_ids`: of the `images` table, in its order.
    """
    swaps = pairs.swaps
    origins, origin = np.unique(swaps.of[which], return_inverse=True)
    texts = [pairs.texts[row] for row in origins] + [swaps.texts[row] for row in which]
    image_rows = np.concatenate([pairs.image_rows[origins], pairs.image_rows[swaps.of[which]]])
    images, owner = np.unique(image_rows, return_inverse=True)
    tokens, mask = store.texts(texts)
    seen = model.see(store.images(images).to(where), proposals.take(images).to(where))
    read = model.read(tokens.to(where), mask.to(where))
    grounded = model.ground(seen.take(torch.from_numpy(owner).to(where)), read, None)
    logits, scores = grounded.image_logit.cpu().numpy(), grounded.scores.cpu().numpy()
    rows = []
    for place, swap in enumerate(which):
        own, swapped = int(origin[place]), len(origins) + place
        image = int(image_rows[own])
        valid = proposals.valid[image]
        boxes = proposals.boxes[image, valid] * np.tile(proposals.sizes[image], 2)
        listed = [scores[text, valid] for text in (own, swapped)]
        # an image without proposals leaves nothing to choose
        chosen = [boxes[one.argmax()].tolist() if len(one) else None for one in listed]
        rows.append(
            {
                "expression_id": swaps.ids[swap],
                "swap_of": pairs.expression_ids[swaps.of[swap]],
                "word_class": swaps.word_classes[swap],
                "false_of_image": bool(swaps.false[swap]),
                "split": pairs.split,
                "image_id": image_ids[image],
                "image_score": float(logits[own]),
                "image_score_swap": float(logits[swapped]),
                "box_xyxy": chosen[0],
                "box_xyxy_swap": chosen[1],
                "scores": listed[0].tolist(),
                "scores_swap": listed[1].tolist(),
            }
        )
    return rows
