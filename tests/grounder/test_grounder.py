"""Invariants of the grounder: batched equals single, order of proposals, padding, empty proposals."""

import pytest
import torch

from camground.grounder.cam_encoder import CamEncoderConfig
from camground.grounder.fusion import FusionConfig
from camground.grounder.grounder import Grounder, GrounderConfig, TransformerConfig
from camground.grounder.regions import Proposals, cell_overlap, inside_and_ring, map_features
from camground.grounder.seen_and_read import Read

CHANNELS, TEXT, GRID, COUNT, PAIRS = 6, 10, 8, 5, 3
SWITCHES = [
    {},
    {"cam_encoder": CamEncoderConfig(enabled=False)},
    {"transformer": TransformerConfig(enabled=False)},
    {"fusion": FusionConfig(enabled=False)},
    {"fusion": FusionConfig(relations=0)},
    {"own_map": False},
    {"relation_kernel": 2},
]


def make_model(**switches):
    torch.manual_seed(0)
    config = GrounderConfig(**{"width": 16, "transformer": TransformerConfig(grid=2), **switches})
    return Grounder(config, CHANNELS, TEXT).double().eval()


def make_inputs(seed=1, count=COUNT):
    make = torch.Generator().manual_seed(seed)
    corners = torch.rand(PAIRS, count, 2, generator=make).double() * 0.5
    boxes = torch.cat(
        [corners, corners + 0.1 + 0.3 * torch.rand(PAIRS, count, 2, generator=make)], -1
    )
    proposals = Proposals(
        boxes,
        torch.rand(PAIRS, count, generator=make).double(),
        torch.ones(PAIRS, count, dtype=torch.bool),
    )
    features = torch.randn(PAIRS, CHANNELS, GRID, GRID, generator=make).double()
    tokens = torch.randn(PAIRS, 4, TEXT, generator=make).double()
    mask = torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] + [False] * 3])
    return (
        features,
        proposals,
        tokens * mask[..., None],
        mask,
        torch.rand(PAIRS, 8, 8, generator=make).double(),
    )


def final_scores(model, features, proposals, tokens, mask, cam):
    visual = model.trunk(features)
    grounded = model.ground(model.see_map(visual, proposals), model.read(tokens, mask), cam)
    own = model.own_cam(grounded, visual)
    return model.rescore(grounded, own, proposals), grounded.image_logit, own


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: next(iter(s), "full"))
def test_batched_equals_single(switches):
    model = make_model(**switches)
    features, proposals, tokens, mask, cam = make_inputs()
    together = final_scores(model, features, proposals, tokens, mask, cam)
    for row in range(PAIRS):
        at = torch.tensor([row])
        alone = final_scores(model, features[at], proposals.take(at), tokens[at], mask[at], cam[at])
        for batched, single in zip(together, alone, strict=True):
            assert torch.allclose(batched[at], single, atol=1e-9)


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: next(iter(s), "full"))
def test_permuting_proposals_permutes_scores(switches):
    model = make_model(**switches)
    features, proposals, tokens, mask, cam = make_inputs()
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = Proposals(
        proposals.boxes[:, order], proposals.objectness[:, order], proposals.valid[:, order]
    )
    before, image_before, own_before = final_scores(model, features, proposals, tokens, mask, cam)
    after, image_after, own_after = final_scores(model, features, moved, tokens, mask, cam)
    assert torch.allclose(before[:, order], after, atol=1e-9)
    assert torch.allclose(image_before, image_after, atol=1e-9)
    assert torch.allclose(own_before, own_after, atol=1e-9)
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("count", [5, 1])
def test_padding_with_invalid_proposals_changes_nothing(count):
    model = make_model()
    features, proposals, tokens, mask, cam = make_inputs(count=count)
    padded = Proposals(
        torch.cat([proposals.boxes, torch.zeros(PAIRS, 2, 4).double()], 1),
        torch.cat([proposals.objectness, torch.zeros(PAIRS, 2).double()], 1),
        torch.cat([proposals.valid, torch.zeros(PAIRS, 2, dtype=torch.bool)], 1),
    )
    plain, image_plain, _ = final_scores(model, features, proposals, tokens, mask, cam)
    wide, image_wide, _ = final_scores(model, features, padded, tokens, mask, cam)
    assert torch.allclose(plain, wide[:, :count], atol=1e-9)
    assert torch.isinf(wide[:, count:]).all()
    assert torch.allclose(image_plain, image_wide, atol=1e-9)


def test_an_image_without_proposals_gives_finite_scores_and_gradients():
    model = make_model()
    features, proposals, tokens, mask, cam = make_inputs()
    proposals.valid[1] = False
    scores, image, own = final_scores(model, features, proposals, tokens, mask, cam)
    assert torch.isinf(scores[1]).all()
    assert torch.isfinite(scores[0]).all()
    assert torch.isfinite(image).all()
    (image.sum() + own.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_each_part_is_heard():
    """The score depends on the CAM, on the words and on the own map, each through its own part."""
    features, proposals, tokens, mask, cam = make_inputs()
    model = make_model()
    base = final_scores(model, features, proposals, tokens, mask, cam)[0]
    assert not torch.allclose(
        base, final_scores(model, features, proposals, tokens, mask, cam.flip(2))[0]
    )
    assert not torch.allclose(
        base, final_scores(model, features, proposals, tokens.flip(0), mask, cam)[0]
    )
    deaf = make_model(cam_encoder=CamEncoderConfig(enabled=False))
    one = final_scores(deaf, features, proposals, tokens, mask, cam)[0]
    assert torch.equal(one, final_scores(deaf, features, proposals, tokens, mask, cam.flip(2))[0])
    model.own_map.weight.data.zero_()
    assert not torch.allclose(base, final_scores(model, features, proposals, tokens, mask, cam)[0])


def test_a_withheld_cam_hides_its_content():
    model = make_model()
    features, proposals, tokens, mask, cam = make_inputs()
    seen, read = model.see(features, proposals), model.read(tokens, mask)
    nothing = torch.zeros(PAIRS, dtype=torch.bool)
    one = model.ground(seen, read, cam, nothing).scores
    assert torch.equal(one, model.ground(seen, read, cam.flip(1), nothing).scores)
    assert torch.allclose(one, model.ground(seen, read, None).scores)


def test_cell_overlap_is_the_area_of_the_box():
    boxes = torch.tensor([[[0.13, 0.2, 0.71, 0.9], [0.0, 0.0, 1.0, 1.0]]]).double()
    overlap = cell_overlap(boxes, 7, 5).sum(-1) / 35
    assert torch.allclose(overlap, torch.tensor([[0.58 * 0.7, 1.0]]).double())


def test_inside_and_ring_are_weights():
    boxes = torch.tensor([[[0.3, 0.3, 0.6, 0.7], [0.0, 0.0, 1.0, 1.0]]]).double()
    inside, ring = inside_and_ring(boxes, (10, 10))
    assert torch.allclose(inside.sum(-1), torch.ones(1, 2).double())
    assert torch.allclose(ring.sum(-1), torch.tensor([[1.0, 0.0]]).double())
    assert (inside[0, 0] * ring[0, 0]).max() < 1e-6  # the box lies on the cells' edges


def test_map_features_favour_the_box_that_fits():
    cam = torch.zeros(1, 10, 10)
    cam[0, 2:6, 3:8] = 0.7
    boxes = torch.tensor([[[0.3, 0.2, 0.8, 0.6], [0.3, 0.2, 0.5, 0.4], [0.0, 0.0, 1.0, 1.0]]])
    said = map_features(cam, boxes)
    assert said[0, :, 2].argmax() == 0  # inside minus ring
    assert torch.allclose(said[0, :, 3], torch.tensor([1.0, 0.2, 1.0]), atol=1e-5)  # share of mass


def test_joined_texts_are_padded_on_the_right():
    def read(rows, length):
        make = torch.Generator().manual_seed(length)
        vectors = (torch.randn(rows, 6, generator=make) for _ in range(2))
        mask = torch.ones(rows, length, dtype=torch.bool)
        return Read(*vectors, torch.randn(rows, length, 6, generator=make), mask)

    for one, other in (
        (read(2, 3), read(1, 5)),
        (read(2, 5), read(1, 3)),
        (read(1, 4), read(3, 4)),
    ):
        joined = Read.join(one, other)
        count = len(one.mask)
        assert joined.words.shape == (count + len(other.mask), joined.mask.shape[1], 6)
        assert joined.mask.shape[1] == max(one.mask.shape[1], other.mask.shape[1])
        for part, rows in ((one, slice(count)), (other, slice(count, None))):
            length = part.mask.shape[1]
            assert torch.equal(joined.phrase[rows], part.phrase)
            assert torch.equal(joined.subject[rows], part.subject)
            assert torch.equal(joined.words[rows, :length], part.words)
            assert joined.mask[rows, :length].all()
            assert not joined.mask[rows, length:].any()
            assert not joined.words[rows, length:].any()


def test_a_joined_text_is_grounded_as_alone():
    model = make_model()
    features, proposals, tokens, mask, _ = make_inputs()
    seen = model.see(features, proposals)
    short, long = model.read(tokens[1:2, :2], mask[1:2, :2]), model.read(tokens[:1], mask[:1])
    together = model.ground(seen.take(torch.tensor([2, 0])), Read.join(short, long), None)
    for row, (image, text) in enumerate(((2, short), (0, long))):
        alone = model.ground(seen.take(torch.tensor([image])), text, None)
        assert torch.allclose(together.scores[row], alone.scores[0], atol=1e-9)
        assert torch.allclose(together.image_logit[row], alone.image_logit[0], atol=1e-9)
