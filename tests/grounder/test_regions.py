"""Boxes on a grid: pooling weights, and what a map says of a box."""

from __future__ import annotations

import torch

from camground.grounder.regions import Proposals, cell_overlap, inside_and_ring, map_features


def test_cell_overlap_is_the_area_of_the_box() -> None:
    boxes = torch.tensor([[[0.13, 0.2, 0.71, 0.9], [0.0, 0.0, 1.0, 1.0]]]).double()
    overlap = cell_overlap(boxes, 7, 5).sum(-1) / 35
    assert torch.allclose(overlap, torch.tensor([[0.58 * 0.7, 1.0]]).double())


def test_inside_and_ring_are_weights() -> None:
    boxes = torch.tensor([[[0.3, 0.3, 0.6, 0.7], [0.0, 0.0, 1.0, 1.0]]]).double()
    inside, ring = inside_and_ring(boxes, (10, 10))
    assert torch.allclose(inside.sum(-1), torch.ones(1, 2).double())
    assert torch.allclose(ring.sum(-1), torch.tensor([[1.0, 0.0]]).double())
    assert (inside[0, 0] * ring[0, 0]).max() < 1e-6  # the box lies on the cells' edges


def test_map_features_favour_the_box_that_fits() -> None:
    cam = torch.zeros(1, 10, 10)
    cam[0, 2:6, 3:8] = 0.7
    boxes = torch.tensor([[[0.3, 0.2, 0.8, 0.6], [0.3, 0.2, 0.5, 0.4], [0.0, 0.0, 1.0, 1.0]]])
    features = map_features(cam, boxes)
    assert features[0, :, 2].argmax() == 0  # inside minus ring
    shares_of_mass = torch.tensor([1.0, 0.2, 1.0])
    assert torch.allclose(features[0, :, 3], shares_of_mass, atol=1e-5)


def test_further_boxes_take_the_objectness_of_the_valid_proposal_they_overlap_most() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.6, 0.6]]])
    proposals = Proposals(boxes, torch.tensor([[0.2, 0.7, 0.9]]), torch.tensor([[True, True, False]]))
    more = torch.tensor([[[0.0, 0.0, 0.6, 0.6], [0.6, 0.6, 1.0, 1.0], [0.4, 0.4, 0.4, 0.4]]])
    extended = proposals.extended(more)
    assert torch.equal(extended.boxes, torch.cat([boxes, more], 1))
    assert extended.objectness[0, 3:5].tolist() == proposals.objectness[0, :2].tolist()
    assert extended.valid.tolist() == [[True, True, False, True, True, False]]  # the last is empty
    assert proposals.extended(more[:, :0]) is proposals
