"""Boxes on a grid: pooling weights, and what a map says of a box."""

from __future__ import annotations

import pytest
import torch

from camground.grounder.regions import Proposals, cell_features, cell_overlap, inside_and_ring, map_features


def test_cell_overlap_is_the_area_of_the_box() -> None:
    boxes = torch.tensor([[[0.13, 0.2, 0.71, 0.9], [0.0, 0.0, 1.0, 1.0]]]).double()
    overlap = cell_overlap(boxes, 7, 5).sum(-1) / 35
    assert torch.allclose(overlap, torch.tensor([[0.58 * 0.7, 1.0]]).double())


def test_inside_and_ring_are_weights() -> None:
    boxes = torch.tensor([[[0.3, 0.3, 0.6, 0.7], [0.0, 0.0, 1.0, 1.0]]]).double()
    inside, ring = inside_and_ring(boxes, (10, 10)).chunk(2, 1)
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


def test_cell_features_are_those_of_a_slow_definition() -> None:
    height, width = 4, 6
    similarity = torch.randn(2, height * width, generator=torch.Generator().manual_seed(0)).double()
    shares = (similarity / 0.1).softmax(-1)
    boxes = [[0.13, 0.2, 0.71, 0.9], [0.4, 0.4, 0.6, 0.6], [0.0, 0.5, 0.3, 1.0], [0.0, 0.0, 1.0, 1.0]]
    both = torch.tensor([boxes] * 2).double()
    features = cell_features(similarity, shares, both, inside_and_ring(both, (height, width)))

    def covered(box: list[float]) -> torch.Tensor:
        """Share of each cell that the box covers."""
        x0, y0, x1, y1 = box
        cells = []
        for row in range(height):
            for column in range(width):
                across = min(x1, (column + 1) / width) - max(x0, column / width)
                down = min(y1, (row + 1) / height) - max(y0, row / height)
                cells.append(max(across, 0) * max(down, 0) * height * width)
        return torch.tensor(cells).double()

    for pair in range(2):
        for number, (x0, y0, x1, y1) in enumerate(boxes):
            more_x, more_y = (x1 - x0) / 4, (y1 - y0) / 4  # the ring's sides are 1.5 times the box's
            larger = [max(x0 - more_x, 0), max(y0 - more_y, 0), min(x1 + more_x, 1), min(y1 + more_y, 1)]
            inside = covered([x0, y0, x1, y1])
            ring = covered(larger) - inside
            mean_inside = (inside * similarity[pair]).sum() / inside.sum()
            # around the whole image there is nothing
            mean_around = (ring * similarity[pair]).sum() / ring.sum() if number < 3 else torch.zeros(())
            share = (inside * shares[pair]).sum()
            expected = torch.stack([mean_inside, mean_around, mean_inside - mean_around, share])
            assert torch.allclose(features[pair, number], expected, atol=1e-6)
    assert features[0, 3, 3].item() == pytest.approx(1)
