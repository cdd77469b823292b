"""The map kept to the thing that is meant."""

import cv2
import numpy as np
import pytest
import torch

from camground.matcher.gated_map import gate, gated, joined


def two_things():
    """A map with two things alike, and the shares of the score, on the first."""
    extent, shares = torch.zeros(1, 12, 12), torch.zeros(1, 12, 12)
    extent[0, 1:5, 1:5] = 1
    extent[0, 7:11, 7:11] = 1
    shares[0, 2:4, 2:4] = 0.25
    return extent, shares


def test_it_keeps_the_extent_of_the_thing_that_is_meant():
    extent, shares = two_things()
    kept = gated(extent, shares)[0]
    assert torch.equal(kept[1:5, 1:5], torch.ones(4, 4))
    assert not kept[7:, 7:].any()


def test_a_thing_that_is_near_but_not_joined_is_left_out():
    extent, shares = torch.zeros(1, 12, 12), torch.zeros(1, 12, 12)
    extent[0, 4, 2:5] = extent[0, 4, 6] = 1  # a gap at 5
    shares[0, 4, 4] = 1
    kept = gated(extent, shares)[0]
    assert kept[4, 2:5].min() == 1
    assert not kept[:, 5:].any()


def test_a_thing_that_is_joined_but_far_is_left_out():
    extent, shares = torch.zeros(1, 12, 12), torch.zeros(1, 12, 12)
    extent[0, 4] = 1
    shares[0, 4, 1] = 1
    kept = gated(extent, shares)[0]
    assert kept[4, :3].min() == 1
    assert not kept[4, 8:].any()


def test_empty_maps_stay_empty_and_scale_does_not_matter():
    extent, shares = two_things()
    assert not gated(torch.zeros_like(extent), shares).any()
    assert not gated(extent, torch.zeros_like(shares)).any()
    assert torch.allclose(gate(1e-3 * extent, 7 * shares), gate(extent, shares))


def test_gradients_pass_to_the_extent_alone():
    extent, shares = (part.requires_grad_() for part in two_things())
    gated(extent, shares).sum().backward()
    assert torch.allclose(extent.grad, gate(extent, shares))
    assert shares.grad is None


def test_a_map_that_is_not_a_number_does_not_hang():
    extent, shares = two_things()
    extent[0, 3, 3] = torch.nan
    assert gated(extent, shares).isnan().any()
    assert gated(extent[:0], shares[:0]).shape == (0, 12, 12)


@pytest.mark.parametrize("seed", range(3))
def test_reconstruction_is_repeated_dilation_under_the_extent(seed):
    rng = np.random.default_rng(seed)
    extent = cv2.blur(rng.random((9, 11), dtype=np.float32), (3, 3))
    seed_map = rng.random((9, 11), dtype=np.float32) * (rng.random((9, 11)) > 0.9)
    expected = np.minimum(seed_map, extent)
    for _ in range(99):
        expected = np.minimum(cv2.dilate(expected, np.ones((3, 3), np.uint8)), extent)
    kept = joined(torch.from_numpy(seed_map)[None], torch.from_numpy(extent)[None])[0]
    assert np.allclose(kept.numpy(), expected)
