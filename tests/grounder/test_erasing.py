"""The soft mask and what it erases."""

from __future__ import annotations

import torch

from camground.grounder.erasing import erase, soft_mask


def test_the_soft_mask_covers_the_peak_of_a_map_of_any_scale() -> None:
    cam = torch.zeros(1, 4, 4)
    cam[0, 1, 1] = 5.0
    mask = soft_mask(cam, 50.0, 0.5)
    assert mask[0, 1, 1] > 0.99
    assert mask[0, 0, 0] < 0.01
    assert torch.allclose(mask, soft_mask(1e-3 * cam, 50.0, 0.5))
    assert soft_mask(torch.zeros(1, 4, 4), 50.0, 0.5).max() < 0.01


def test_where_the_mask_is_one_the_mean_of_the_cells_stands() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[0, 1, 1] = 1.0
    x = torch.randn(1, 3, 4, 4)
    erased = erase(x, mask)
    assert torch.allclose(erased[0, :, 1, 1], x.mean((2, 3))[0], atol=1e-6)
    assert torch.equal(erased[0, :, 0], x[0, :, 0])


def test_a_mask_of_another_grid_is_resized() -> None:
    x = torch.randn(2, 3, 4, 4)
    mask = torch.zeros(2, 2, 2)
    mask[1] = 1.0
    erased = erase(x, mask)
    assert torch.equal(erased[0], x[0])
    assert torch.allclose(erased[1], x[1].mean((1, 2), keepdim=True).expand(3, 4, 4), atol=1e-6)
