"""The own CAM and the matcher's, of different grids, as one map for boxes."""

import pytest
import torch

from camground.grounder.map_boxes import joint_map


def test_own_and_shown_map_of_different_grids_are_joined_on_the_finer_one():
    own, shown = torch.zeros(2, 4, 8), torch.zeros(2, 6, 3)
    own[:, 0, 0] = 5.0  # top left
    shown[:, -1, -1] = 1.0  # bottom right
    joint = joint_map(own, shown, torch.tensor([True, False]))
    assert joint.shape == (2, 6, 8)
    assert joint[0, 0, 0] == pytest.approx(1, abs=0.2)
    assert joint[0, -1, -1] == pytest.approx(1, abs=0.2)
    assert joint[0, 2:4, 3:5].abs().max() < 0.1
    assert joint[1, -1, -1] == 0  # not known, so not shown
    same = torch.rand(2, 4, 8)
    known = torch.ones(2, dtype=torch.bool)
    assert torch.equal(joint_map(own, same, known), own / 5 + same)
