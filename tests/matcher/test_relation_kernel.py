"""Relations in the matcher: offsets on the grid, landmarks, and that a side can be learnt."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher
from camground.matcher.relation_kernel import RelationKernel, offsets


def test_offsets_are_those_between_two_cells_in_sides_of_the_grid() -> None:
    features = offsets(2, 4)
    assert features.shape == (3, 7, 5)
    assert features[1, 3].tolist() == [0, 0, 0, 0, 0]
    assert features[1, 6].tolist() == pytest.approx([1.5, 0, 1.5, 0, 0.75])  # from left to right
    assert features[1, 0].tolist() == pytest.approx([-1.5, 0, 1.5, 0, 0.75])
    assert features[2, 3].tolist() == pytest.approx([0, 1, 0, 1, 0.5])  # down


def by_definition(
    kernel: RelationKernel, cells: torch.Tensor, landmarks: torch.Tensor, relations: torch.Tensor
) -> torch.Tensor:
    """Evidence (N,) of one image, cells (width, H, W), and one text, cell by cell."""
    height, width = cells.shape[-2:]
    table = kernel.offset(offsets(height, width).to(cells)) / kernel.rank**0.5
    places = [(y, x) for y in range(height) for x in range(width)]
    evidence = []
    for y, x in places:
        total = cells.new_zeros(())
        for landmark, relation in zip(landmarks, relations, strict=True):
            attention = (kernel.scale.exp() * (landmark @ cells.flatten(1))).softmax(-1)
            for share, (at_y, at_x) in zip(attention, places, strict=True):
                total = total + share * (relation @ table[at_y - y + height - 1, at_x - x + width - 1])
        evidence.append(total)
    return torch.stack(evidence)


@pytest.mark.parametrize("size", [(3, 4), (1, 5)])
def test_evidence_is_that_of_the_definition(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    kernel = RelationKernel(width=6, heads=2, rank=3)
    visual, landmarks = torch.randn(2, 6, *size), functional.normalize(torch.randn(2, 2, 6), dim=-1)
    relations = torch.randn(2, 2, 3)
    slow = [by_definition(kernel, *row) for row in zip(visual, landmarks, relations, strict=True)]
    assert torch.allclose(kernel.paired(visual, landmarks, relations), torch.stack(slow), atol=1e-5)


def test_a_landmark_that_is_in_one_cell_gives_the_kernel_of_that_cell() -> None:
    torch.manual_seed(0)
    kernel = RelationKernel(width=8, heads=1)
    kernel.scale.data.fill_(10.0)
    landmark = functional.one_hot(torch.tensor([[0]]), 8).float()
    visual = torch.zeros(1, 8, 3, 4)
    visual[0, 0, 1, 2] = 1
    relation = torch.randn(1, 1, 16)
    evidence = kernel.paired(visual, landmark, relation).view(3, 4)
    scores = kernel.kernels(relation, 3, 4)[0, 0]
    assert evidence[1, 2].item() == pytest.approx(scores[2, 3].item(), abs=1e-4)  # the landmark itself
    assert evidence[1, 0].item() == pytest.approx(scores[2, 5].item(), abs=1e-4)  # it is two to the right
    assert evidence[2, 3].item() == pytest.approx(scores[1, 2].item(), abs=1e-4)  # one up, one to the left


def test_evidence_of_all_pairs_equals_that_of_each_pair() -> None:
    torch.manual_seed(0)
    kernel = RelationKernel(width=8, heads=2)
    visual, words = torch.randn(3, 8, 4, 6), torch.randn(4, 7, 8)
    mask = torch.arange(7) < torch.tensor([[7], [4], [1], [7]])
    landmarks, relations = kernel.read(words, mask)
    table = kernel.all_pairs(visual, landmarks, relations)
    assert table.shape == (3, 4, 24)
    for image in range(3):
        row = kernel.paired(visual[[image] * 4], landmarks, relations)
        assert torch.allclose(table[image], row, atol=1e-5)


def test_evidence_has_the_second_derivative_that_mining_needs() -> None:
    torch.manual_seed(0)
    kernel = RelationKernel(width=3, heads=2, rank=2).double()
    kernel.scale.data.fill_(0.5)
    kernel.requires_grad_(False)

    def evidence(visual: torch.Tensor, landmarks: torch.Tensor, relations: torch.Tensor) -> torch.Tensor:
        return kernel.paired(visual, landmarks, relations).square()

    inputs = (torch.randn(2, 3, 2, 3), torch.randn(2, 2, 3), torch.randn(2, 2, 2))
    inputs = tuple(each.double().requires_grad_() for each in inputs)
    assert torch.autograd.gradcheck(evidence, inputs)
    assert torch.autograd.gradgradcheck(evidence, inputs)


def test_words_beyond_the_end_do_not_count() -> None:
    torch.manual_seed(0)
    kernel = RelationKernel(width=8, heads=2)
    words, mask = torch.randn(1, 5, 8), torch.tensor([[True, True, True, False, False]])
    short = kernel.read(words[:, :3], mask[:, :3])
    for padded, alone in zip(kernel.read(words, mask), short, strict=True):
        assert torch.allclose(padded, alone, atol=1e-6)


def test_a_side_is_learnt_from_images_and_texts_alone() -> None:
    """The left or the right of two alike things is named by the side on which the landmark is."""
    torch.manual_seed(0)
    config = MatcherConfig(width=16, blocks=0, dropout=0.0, temperature=0.1, relations=1)
    model = Matcher(config, 3, 4)
    # a landmark in the middle, and one thing at its left or right
    features = torch.zeros(2, 3, 3, 5)
    features[:, 0, 1, 2] = 4
    features[0, 1, 1, 0] = features[1, 1, 1, 4] = 4
    # texts: thing, side, landmark
    tokens = torch.eye(4)[torch.tensor([[0, 1, 3], [0, 2, 3]])] * 4
    mask = torch.ones(2, 3, dtype=torch.bool)
    # positions are hidden from the trunk, so that the relation alone can tell
    model.trunk.position.weight.data.zero_()
    model.trunk.position.requires_grad_(False)

    def logits() -> torch.Tensor:
        return model.logits_per_image(features, model.read(tokens, mask))

    before = logits().softmax(0).diag().min()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(150):
        loss = functional.cross_entropy(logits().T, torch.arange(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = logits().softmax(0).diag().min()
    assert before < 0.7
    assert after > 0.9
