"""Proposals of one picture: selective search, ranked by objectness, thinned by suppression."""

from __future__ import annotations

import numpy as np

from camground.proposals.candidates import SEARCHES, find
from camground.proposals.objectness import objectness
from camground.proposals.settings import Settings
from camground.proposals.thinning import WHOLE, Proposals, thin

FOUND = "selective_search"


def propose(rgb: np.ndarray, settings: Settings, size: tuple[int, int]) -> Proposals:
    """Proposals of a picture (h, w, 3) uint8 RGB that stands for an image of `size` (width, height).

    At most `settings.count`. The whole image is one of them if `settings.whole_image` or if nothing
    else is found; its objectness is by the same formula, and it neither suppresses nor is suppressed.
    """
    height, width = rgb.shape[:2]
    candidates = find(rgb, SEARCHES[settings.mode])
    scores = objectness(candidates.evidence)
    kept = thin(candidates.boxes_xyxy, scores, settings, (width, height))
    whole = len(scores) - 1
    if settings.whole_image or not kept.size:
        kept = np.append(kept, whole)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
    scale = np.array([size[0] / width, size[1] / height] * 2)
    return Proposals(
        boxes_xyxy=(candidates.boxes_xyxy[kept] * scale).astype(np.float32),
        objectness=scores[kept].astype(np.float32),
        sources=[WHOLE if one == whole else FOUND for one in kept],
    )
