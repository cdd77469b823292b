"""Boxes around maps: candidates beside an image's proposals, and what the teacher measures those by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from camground.matcher import map_geometry

SIDE = 64  # maps are enlarged to so many cells before a box is drawn around them


@torch.no_grad()
def boxes_around(maps: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Boxes (P, E, 4) xyxy in [0, 1] around maps (P, H, W), at least 0, at each share of the maximum.

    The largest connected part counts; a map of zeros gives an empty box, which is no candidate.
    """
    enlarged = map_geometry.enlarge(maps.float().cpu().numpy(), (SIDE, SIDE))
    boxes = maps.new_zeros(len(maps), len(thresholds), 4)
    for column, threshold in enumerate(thresholds):
        boxes[:, column] = torch.from_numpy(map_geometry.threshold_boxes(enlarged, threshold)).to(maps)
    return boxes / SIDE
