"""Relations in the matcher and in the grounder that starts from it."""

import pytest
import torch
from torch.nn import functional

from camground.grounder.grounder import Grounder, GrounderConfig, TransformerConfig
from camground.grounder.regions import Proposals
from camground.matcher.matcher import Matcher, MatcherConfig
from camground.matcher.relation_kernel import RelationKernel, offsets
from camground.stages.train import start_from_matcher
from camground.study.errors import UserError


def test_offsets_point_from_the_first_cell_to_the_second():
    features, which = offsets(2, 4)
    assert features.shape == (21, 5)
    found = features[which]
    assert found.shape == (8, 8, 5)
    # cells are row-major: 0 is at the top left, 3 at the top right, 4 below 0
    assert found[0, 3].tolist() == pytest.approx([1.5, 0, 1.5, 0, 0.75])
    assert found[3, 0].tolist() == pytest.approx([-1.5, 0, 1.5, 0, 0.75])
    assert found[0, 4].tolist() == pytest.approx([0, 1, 0, 1, 0.5])
    assert torch.equal(found[..., :2], -found.transpose(0, 1)[..., :2])


def test_a_landmark_that_is_in_one_cell_gives_the_kernel_of_that_cell():
    torch.manual_seed(0)
    kernel = RelationKernel(width=8, heads=1)
    kernel.scale.data.fill_(10.0)
    landmark = functional.one_hot(torch.tensor([[0]]), 8).float()
    visual = torch.zeros(1, 8, 3, 4)
    visual[0, 0, 1, 2] = 1  # cell 6
    relation = torch.randn(1, 1, 16)
    found = kernel.paired(visual, landmark, relation)
    assert torch.allclose(found[0], kernel.basis(3, 4)[:, 6] @ relation[0, 0], atol=1e-4)


@pytest.mark.parametrize("word_share", [0.0, 0.4])
def test_all_pairs_agree_with_pairs(word_share):
    torch.manual_seed(0)
    model = Matcher(MatcherConfig(width=16, blocks=1, word_share=word_share, relations=2), 5, 6)
    model.eval()
    features, tokens = torch.randn(3, 5, 4, 6), torch.randn(4, 7, 6)
    mask = torch.ones(4, 7, dtype=torch.bool)
    mask[1, 4:] = False
    queries = model.queries(tokens, mask)
    table = model.all_pairs(features, queries)
    for image in range(3):
        row = model.paired(features[[image] * 4], queries)
        assert torch.allclose(table[image], row, atol=1e-5)


def test_words_beyond_the_end_do_not_count():
    torch.manual_seed(0)
    kernel = RelationKernel(width=8, heads=2)
    words, mask = torch.randn(1, 5, 8), torch.tensor([[True, True, True, False, False]])
    short = kernel.read(words[:, :3], mask[:, :3])
    for one, other in zip(kernel.read(words, mask), short, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_side_is_learnt_from_images_and_texts_alone():
    """The left or the right of two alike things is named by the side on which the landmark is."""
    torch.manual_seed(0)
    model = Matcher(MatcherConfig(width=16, blocks=0, dropout=0.0, relations=1), 3, 4)
    # a landmark in the middle, and one thing at its left or right
    features = torch.zeros(2, 3, 3, 5)
    features[:, 0, 1, 2] = 4
    features[0, 1, 1, 0] = features[1, 1, 1, 4] = 4
    # texts: thing, side, landmark
    tokens = torch.eye(4)[torch.tensor([[0, 1, 3], [0, 2, 3]])] * 4
    mask = torch.ones(2, 3, dtype=torch.bool)
    # places are hidden from the trunk, so that the relation alone can tell
    model.trunk.place.weight.data.zero_()
    model.trunk.place.requires_grad_(False)
    before = model.all_pairs(features, model.queries(tokens, mask)).softmax(0).diag().min()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(150):
        logits = model.all_pairs(features, model.queries(tokens, mask))
        loss = functional.cross_entropy(logits.T, torch.arange(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = model.all_pairs(features, model.queries(tokens, mask)).softmax(0).diag().min()
    assert before < 0.7
    assert after > 0.9


@pytest.mark.parametrize("word_share", [0.0, 0.4])
def test_cell_shares_are_the_gradient_of_the_pooled_score(word_share):
    torch.manual_seed(0)
    config = MatcherConfig(width=16, blocks=1, relations=2, word_share=word_share)
    matcher = Matcher(config, 5, 6).eval()
    features, tokens = torch.randn(3, 5, 4, 6), torch.randn(3, 4, 6)
    mask = torch.arange(4) < torch.tensor([[4], [2], [3]])
    trunk, queries = matcher.trunk(features), matcher.queries(tokens, mask)
    shares = matcher.cell_shares(trunk, queries)
    assert torch.allclose(shares.sum(-1), torch.ones(3), atol=1e-5)
    shift = torch.zeros(3, 24, requires_grad=True)
    similarity = matcher._similarity(trunk, queries) + shift.unsqueeze(1)
    pooled = (matcher._smooth_max(similarity) * queries.weights).sum(-1)
    (expected,) = torch.autograd.grad(pooled.sum(), shift)
    assert torch.allclose(shares, expected, atol=1e-5)


def test_the_grounder_starts_with_the_matchers_own_score():
    torch.manual_seed(0)
    matcher = Matcher(MatcherConfig(width=16, blocks=1, relations=2), 5, 6).eval()
    config = GrounderConfig(width=16, relation_kernel=2, transformer=TransformerConfig(grid=2))
    model = Grounder(config, 5, 6).eval()
    start_from_matcher(model, matcher)
    features, tokens = torch.randn(2, 5, 4, 4), torch.randn(2, 3, 6)
    mask = torch.ones(2, 3, dtype=torch.bool)
    proposals = Proposals(torch.tensor([[[0.1, 0.1, 0.6, 0.6]]] * 2), torch.ones(2, 1), mask[:, :1])
    seen, read = model.see(features, proposals), model.read(tokens, mask)
    visual, queries = matcher.trunk(features) / 4, matcher.queries(tokens, mask)
    wanted = torch.einsum("pd,pdn->pn", queries.vectors[:, 0], visual.flatten(2))
    assert matcher.relations is not None
    assert queries.related is not None
    wanted = wanted + matcher.relations.paired(visual, *queries.related)
    assert torch.allclose(model._dense(seen, read), wanted, atol=1e-5)


def test_other_heads_than_the_matchers_are_refused():
    matcher = Matcher(MatcherConfig(width=16, blocks=1, relations=1), 5, 6)
    model = Grounder(GrounderConfig(width=16, relation_kernel=2), 5, 6)
    with pytest.raises(UserError, match=r"model\.relation_kernel"):
        start_from_matcher(model, matcher)
