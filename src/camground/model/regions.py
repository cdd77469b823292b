"""Proposals on a grid: bilinear pooling as matrix products, which has the double backward that
torchvision's roi_align lacks, and the geometry of boxes.

Boxes here are xyxy as shares of the image's width and height, in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor


def cell_overlap(boxes: Tensor, height: int, width: int) -> Tensor:
    """Share of each cell that each box covers: boxes (B, K, 4) -> (B, K, H * W) in [0, 1]."""

    def along(low: Tensor, high: Tensor, cells: int) -> Tensor:
        edges = torch.linspace(0, 1, cells + 1, device=boxes.device, dtype=boxes.dtype)
        covered = torch.minimum(high.unsqueeze(-1), edges[1:]) - torch.maximum(
            low.unsqueeze(-1), edges[:-1]
        )
        return covered.clamp(min=0) * cells

    x = along(boxes[..., 0], boxes[..., 2], width)
    y = along(boxes[..., 1], boxes[..., 3], height)
    return (y.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)


def enlarge(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (..., 4) about their centres with sides `factor` times as long, cut to the image."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) / 2 * factor
    return torch.cat([centre - half, centre + half], -1).clamp(0, 1)


def inside_and_ring(
    boxes: Tensor, size: tuple[int, int], ring: float = 1.5
) -> tuple[Tensor, Tensor]:
    """Pooling weights (B, K, H * W) of each box's inside and of the ring around it; size (H, W).

    Each sums to 1 over the cells; the ring of a box as large as the image is empty and sums to 0.
    """
    inside = cell_overlap(boxes, *size)
    around = (cell_overlap(enlarge(boxes, ring), *size) - inside).clamp(min=0)
    sums = (part.sum(-1, keepdim=True).clamp(min=1e-6) for part in (inside, around))
    return inside / next(sums), around / next(sums)


def geometry(boxes: Tensor) -> Tensor:
    """(B, K, 9): the corners, the centre, the logarithms of width and height, and the area."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    area = size.prod(-1, keepdim=True)
    return torch.cat([boxes * 2 - 1, centre * 2 - 1, size.log() / 3, area * 2 - 1], -1)


def map_features(cam: Tensor, boxes: Tensor, ring: float = 1.5) -> Tensor:
    """What a map says of each box: (B, K, 4) float.

    cam (B, H, W) at least 0; boxes (B, K, 4). The features are the mean inside, the mean in the ring,
    their difference, and the share of the map's mass inside, of the map scaled to maximum 1.
    """
    peak = cam.flatten(1).amax(-1).clamp(min=1e-6)
    flat = (cam / peak[:, None, None]).flatten(1).unsqueeze(-1)  # (B, H * W, 1)
    height, width = cam.shape[-2:]
    inside, around = inside_and_ring(boxes, (height, width), ring)
    mean_inside = (inside @ flat).squeeze(-1)
    mean_around = (around @ flat).squeeze(-1)
    mass = (cell_overlap(boxes, height, width) @ flat).squeeze(-1)
    share = mass / flat.sum(1).clamp(min=1e-6)
    return torch.stack([mean_inside, mean_around, mean_inside - mean_around, share], -1)
