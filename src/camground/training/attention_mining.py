"""Attention mining (GAIN, Li et al. 2018, eq. 3 to 5), moved to grounding.

The own Grad-CAM A is turned into a soft mask T = sigmoid(omega (A / max A - sigma)); what the mask
covers is erased, and the score that is left, S(I*, q), is to be small: whatever still carries the
expression after erasing should have been in the map. S is a probability, since a contrastive score is
unbounded below. A size penalty and a keep term stand against the map that covers everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class AttentionMiningConfig:
    """`weight` 0 switches it off. `order`: exact (second order) or first. `scorer`: live, or frozen
    (the erased pass gives no gradient to the parameters but through the mask). `erase`: feature (the
    backbone's grid) or image (pixels; runs the backbone in the loop). `fill`: mean or blur. `warmup`:
    share of training before it reaches its weight, linearly. `every`: mine at every n-th step, with n
    times the weight, since a step with a second derivative costs twice one without. `size_weight` and
    `size_limit`: of max(0, mean T - limit). `keep_weight`: of |S(I * T, q) - S(I, q)|.
    """

    weight: float = 0.5
    order: str = "exact"
    scorer: str = "frozen"
    erase: str = "feature"
    fill: str = "mean"
    omega: float = 10.0
    sigma: float = 0.4
    warmup: float = 0.3
    every: int = 1
    size_weight: float = 1.0
    size_limit: float = 0.3
    keep_weight: float = 0.0


def soft_mask(cam: Tensor, omega: float, sigma: float) -> Tensor:
    """T (P, H, W) in (0, 1) from a map (P, H, W) that is at least 0 (eq. 4, of A scaled to maximum 1)."""
    peak = cam.flatten(1).amax(-1).clamp(min=1e-6)
    return torch.sigmoid(omega * (cam / peak[:, None, None] - sigma))


def fill_value(x: Tensor, fill: str) -> Tensor:
    """What stands where something was erased: the mean over the cells of each row, or a blur of x."""
    if fill == "mean":
        return x.mean((2, 3), keepdim=True)
    side = max(3, x.shape[-1] // 4) | 1
    return functional.avg_pool2d(x, side, stride=1, padding=side // 2, count_include_pad=False)


def erase(x: Tensor, mask: Tensor, fill: str) -> Tensor:
    """x - T (x - fill): x (P, C, H, W), mask (P, h, w) resized bilinearly to x where it differs."""
    mask = mask.unsqueeze(1)
    if mask.shape[-2:] != x.shape[-2:]:
        mask = functional.interpolate(mask, x.shape[-2:], mode="bilinear", align_corners=False)
    return x - mask * (x - fill_value(x, fill))


def size_penalty(mask: Tensor, limit: float) -> Tensor:
    """Mean of max(0, mean T - limit): what keeps the mask from covering the whole image."""
    return (mask.mean((1, 2)) - limit).clamp(min=0).mean()
