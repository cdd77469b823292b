"""Boxes around maps: candidates of an expression beside its image's proposals, and the teacher's box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from camground.matcher import map_geometry

SIDE = 64  # maps are enlarged to so many cells before a box is drawn around them


@torch.no_grad()
def boxes_around(maps: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Boxes (P, E, 4) xyxy in [0, 1] around maps (P, H, W), at least 0, at each share of the maximum.

    The largest connected part counts; a map of zeros gives the whole image.
    """
    enlarged = map_geometry.enlarge(maps.float().cpu().numpy(), (SIDE, SIDE))
    boxes = [
        torch.from_numpy(map_geometry.threshold_boxes(enlarged, threshold, "largest"))
        for threshold in thresholds
    ]
    return torch.stack(boxes, 1).to(maps) / SIDE


@torch.no_grad()
def joint_map(own_cam: Tensor, matcher_cam: Tensor, has_cam: Tensor) -> Tensor:
    """The sum (P, H, W) of the own CAM (P, H, W) and, where it is known, the matcher's (P, h, w), each of
    maximum 1.

    On the finer grid of the two along each axis: a pretrained model's CAM has that model's grid.
    """
    own = own_cam / own_cam.amax((1, 2), keepdim=True).clamp(min=1e-12)
    if matcher_cam.shape != own.shape:
        finer = tuple(map(max, own.shape[1:], matcher_cam.shape[1:]))
        own, matcher_cam = (
            functional.interpolate(cam.unsqueeze(1), finer, mode="bilinear").squeeze(1)
            for cam in (own, matcher_cam)
        )
    return own + matcher_cam * has_cam[:, None, None]
