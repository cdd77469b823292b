"""Erasing what a map covers (GAIN, Li et al. 2018, eq. 3 and 4): the soft mask and the image without it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_mask(cam: Tensor, omega: float, sigma: float) -> Tensor:
    """T (P, H, W) in (0, 1) = sigmoid(omega (A / max A - sigma)) of a map A (P, H, W), at least 0 (eq. 4, of
    A scaled to maximum 1)."""
    peak = cam.flatten(1).amax(-1).clamp(min=1e-6)
    return torch.sigmoid(omega * (cam / peak[:, None, None] - sigma))


def erase(x: Tensor, mask: Tensor) -> Tensor:
    """x - T (x - mean x): x (P, C, H, W), mask (P, h, w) resized bilinearly to x where it differs.

    The mean over the cells of each channel stands where something was erased.
    """
    mask = mask.unsqueeze(1)
    if mask.shape[-2:] != x.shape[-2:]:
        mask = functional.interpolate(mask, x.shape[-2:], mode="bilinear", align_corners=False)
    return x - mask * (x - x.mean((2, 3), keepdim=True))
