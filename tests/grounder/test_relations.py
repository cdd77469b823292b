"""Relations between proposals: the geometry of pairs, and what the heads may look at."""

import pytest
import torch

from camground.grounder.fusion import Relations
from camground.grounder.regions import PAIR_FEATURES, pair_geometry
from tiny_grounder import without_zeros

WIDTH, PAIRS, COUNT = 12, 2, 5
# a square left above, one of the same size right below it, a tall half of the first, the whole image
BOXES = torch.tensor(
    [[[0.1, 0.1, 0.3, 0.3], [0.5, 0.7, 0.7, 0.9], [0.1, 0.1, 0.2, 0.3], [0.0, 0.0, 1.0, 1.0]]],
    dtype=torch.float64,
)


def test_pair_geometry_of_boxes_made_by_hand():
    geometry = pair_geometry(BOXES)[0]
    assert geometry.shape == (4, 4, PAIR_FEATURES)
    first_to_second = geometry[0, 1].tolist()
    # from the first box the second lies to the right (x > 0) and below (y > 0)
    assert first_to_second[:4] == pytest.approx([0.8, 1.2, 0.8, 1.2])
    assert first_to_second[4] == pytest.approx(0.52**0.5, abs=1e-5)
    assert first_to_second[5:] == pytest.approx([0.0] * 6, abs=1e-9)
    half = torch.tensor(0.5).log().item()
    first_to_third = geometry[0, 2].tolist()
    assert first_to_third[:4] == pytest.approx([-0.1, 0.0, 0.1, 0.0])
    assert first_to_third[5:8] == pytest.approx([half, 0.0, half])
    # IoU, the share of the first that both cover, the share of the third
    assert first_to_third[8:] == pytest.approx([0.5, 0.5, 1.0])
    assert geometry[3, 0, 8:].tolist() == pytest.approx([0.04, 0.04, 1.0])
    assert geometry[3, 0, 5:8].exp().tolist() == pytest.approx([0.2, 0.2, 0.04])


def test_pair_geometry_seen_from_the_other_box():
    make = torch.Generator().manual_seed(0)
    low = torch.rand(2, 6, 2, generator=make).double() * 0.6
    boxes = torch.cat([low, low + 0.05 + 0.3 * torch.rand(2, 6, 2, generator=make)], -1)
    geometry = pair_geometry(boxes)
    reversed_pairs = geometry.transpose(1, 2)
    for feature in (0, 1, 5, 6, 7):  # offsets and logarithms of ratios
        assert torch.allclose(geometry[..., feature], -reversed_pairs[..., feature])
    for feature in (2, 3, 4, 8):  # distances and IoU
        assert torch.allclose(geometry[..., feature], reversed_pairs[..., feature])
    assert torch.allclose(geometry[..., 9], reversed_pairs[..., 10])
    own = geometry.diagonal(dim1=1, dim2=2)  # (2, features, 6)
    assert own[:, :4].abs().max() == 0
    assert torch.allclose(own[:, 8:], torch.ones(2, 3, 6).double())


def test_pair_geometry_of_empty_boxes_is_finite():
    boxes = torch.zeros(1, 3, 4)
    boxes[0, 2] = torch.tensor([0.4, 0.4, 0.4, 0.9])
    boxes.requires_grad_()
    geometry = pair_geometry(boxes)
    geometry.sum().backward()
    assert torch.isfinite(geometry).all()
    assert torch.isfinite(boxes.grad).all()


def make_relations(heads=2):
    torch.manual_seed(0)
    return without_zeros(Relations(WIDTH, heads, rank=4).double().eval())


def make_inputs(count=COUNT):
    make = torch.Generator().manual_seed(1)
    low = torch.rand(PAIRS, count, 2, generator=make).double() * 0.5
    return {
        "regions": torch.randn(PAIRS, count, WIDTH, generator=make).double(),
        "boxes": torch.cat([low, low + 0.1 + 0.3 * torch.rand(PAIRS, count, 2, generator=make)], -1),
        "objectness": torch.rand(PAIRS, count, generator=make).double(),
        "valid": torch.ones(PAIRS, count, dtype=torch.bool),
        "words": torch.randn(PAIRS, 4, WIDTH, generator=make).double(),
        "mask": torch.tensor([[True] * 4, [True, True, False, False]]),
    }


def scores(model, inputs):
    """Scores of the inputs, the boxes among them as the relations read them."""
    rest = {name: value for name, value in inputs.items() if name != "boxes"}
    return model(**rest, pairs=model.pairs(inputs["boxes"]))


def test_invalid_proposals_are_not_looked_at():
    model, inputs = make_relations(), make_inputs()
    inputs["valid"][:, 3:] = False
    before = scores(model, inputs)[:, :3]
    changed = {name: value.clone() for name, value in inputs.items()}
    changed["regions"][:, 3:] = 9.0
    changed["boxes"][:, 3:] = torch.tensor([0.0, 0.0, 1.0, 1.0]).double()
    changed["objectness"][:, 3:] = 9.0
    assert torch.allclose(before, scores(model, changed)[:, :3], atol=1e-12)
    less = {name: value[:, :3] if name not in ("words", "mask") else value for name, value in inputs.items()}
    assert torch.allclose(before, scores(model, less), atol=1e-12)
    inputs["valid"][:] = True
    assert not torch.allclose(before, scores(model, inputs)[:, :3])


def test_a_proposal_without_others_stands_in_no_relation():
    """Whatever it is padded with, and not to itself."""
    model = make_relations()
    for count in (1, 3):
        inputs = make_inputs(count)
        inputs["valid"][:, 1:] = False
        assert (scores(model, inputs)[:, 0] == 0).all()


def test_a_proposal_is_no_landmark_of_itself():
    """What a proposal looks like moves the scores of the others alone."""
    model, inputs = make_relations(), make_inputs()
    before = scores(model, inputs)
    inputs["regions"][:, 2] += 3.0
    inputs["objectness"][:, 2] += 3.0
    after = scores(model, inputs)
    others = [0, 1, 3, 4]
    assert torch.allclose(before[:, 2], after[:, 2], atol=1e-12)
    assert not torch.isclose(before[:, others], after[:, others]).any()


def test_the_order_of_proposals_is_that_of_the_scores():
    model, inputs = make_relations(), make_inputs()
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = {
        name: value[:, order] if name not in ("words", "mask") else value for name, value in inputs.items()
    }
    before, after = scores(model, inputs), scores(model, moved)
    assert torch.allclose(before[:, order], after, atol=1e-12)
    assert not torch.allclose(before, after)


def test_words_beyond_the_mask_are_not_read():
    model, inputs = make_relations(), make_inputs()
    before = scores(model, inputs)
    inputs["words"][1, 2:] += 5.0
    assert torch.allclose(before, scores(model, inputs), atol=1e-12)
    inputs["words"][1, 0] += 5.0
    assert not torch.allclose(before[1], scores(model, inputs)[1])


def test_relations_have_a_second_derivative():
    """Exact attention mining differentiates the gradient of the score by the regions."""
    model, inputs = make_relations(), make_inputs(3)
    kept = {name: inputs[name].requires_grad_() for name in ("regions", "words")}

    def score(regions, words):
        return scores(model, {**inputs, "regions": regions, "words": words}).square().sum()

    assert torch.autograd.gradgradcheck(score, tuple(kept.values()))
    (first,) = torch.autograd.grad(score(**kept), kept["regions"], create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), model.relation_query[0].weight)
    assert second.abs().sum() > 0


def test_left_and_right_of_a_landmark_can_be_learnt():
    """The landmark is told by its looks, the side by the words: neither alone is enough."""
    torch.manual_seed(0)
    model = Relations(WIDTH, 1, rank=8)
    make = torch.Generator().manual_seed(2)
    looks, sides = torch.randn(3, WIDTH, generator=make), torch.randn(2, WIDTH, generator=make)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)

    def draw():
        # two alike about a landmark of other looks, and another thing anywhere
        x = torch.rand(64, 1, generator=make) * 0.4 + 0.3
        centres = torch.cat([x - 0.2, x + 0.2, x, torch.rand(64, 1, generator=make)], 1)
        boxes = torch.stack([centres - 0.05, centres * 0 + 0.4, centres + 0.05, centres * 0 + 0.5], -1)
        side = torch.randint(2, (64,), generator=make)
        words = torch.stack([looks[1].expand(64, -1), sides[side]], 1)
        regions = looks[torch.tensor([0, 0, 1, 2])].expand(64, -1, -1)
        ones = torch.ones(64, 4)
        mask = torch.ones(64, 2, dtype=torch.bool)
        scores = model(regions, model.pairs(boxes), ones, ones.bool(), words, mask)
        return scores[:, :2], side

    for _ in range(150):
        scores, side = draw()
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores, side).backward()
        optimiser.step()
    scores, side = draw()
    assert (scores.argmax(1) == side).float().mean() > 0.9
