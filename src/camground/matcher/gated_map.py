"""A Grad-CAM confined to the object that is meant.

Grad-CAM weighs channels by the mean of their gradient over the image, so it lights up whatever shares the
expression's words, wherever it is. The gradient to each cell's own similarity tells which cells the score
rests on, but is concentrated on a few of them. The first gives the extent, the second the location: the map
is kept where it is connected to those cells and near them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

REACH = 0.4  # side of the square that the cells grow by, as a share of the map's


def _grown(maps: Tensor, side: tuple[int, int]) -> Tensor:
    """Maximum over a window of odd sides around each cell, of maps (P, H, W)."""
    padding = (side[0] // 2, side[1] // 2)
    return functional.max_pool2d(maps.unsqueeze(1), side, 1, padding).squeeze(1)


def joined(seed: Tensor, extent: Tensor) -> Tensor:
    """Morphological reconstruction by dilation (Vincent 1993, definition 4.1) of `extent` from `seed`.

    Both (P, H, W) at least 0. The most that reaches a cell from the seed on a path along which the extent
    is nowhere lower; at most the extent.
    """
    reached = torch.minimum(seed, extent)
    # no path is longer than all cells; a map that is not a number, which equals nothing, ends here too
    for _ in range(extent[0].numel() if len(extent) else 0):
        grown = torch.minimum(_grown(reached, (3, 3)), extent)
        if torch.equal(grown, reached):
            break
        reached = grown
    return reached


@torch.no_grad()
def gate(extent: Tensor, cell_shares: Tensor) -> Tensor:
    """Shares (P, H, W) in [0, 1] by which a map `extent` (P, H, W), at least 0, is kept.

    cell_shares (P, H, W), at least 0: how much the score rests on each cell. No gradient passes; a row of
    zeros in either gives zeros.
    """
    height, width = extent.shape[-2:]
    extent, seed = (part / part.amax((1, 2), keepdim=True).clamp(min=1e-12) for part in (extent, cell_shares))
    side = (round(REACH * height) // 2 * 2 + 1, round(REACH * width) // 2 * 2 + 1)
    near = _grown(seed, side)
    return near * joined(seed, extent) / extent.clamp(min=1e-12)


def gated(extent: Tensor, cell_shares: Tensor) -> Tensor:
    """`extent` kept to what the score rests on; see `gate`. Gradients pass to `extent` alone."""
    return extent * gate(extent, cell_shares)
