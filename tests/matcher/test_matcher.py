"""The matcher's score: of all pairs and of each pair alike, of texts alone and joined alike."""

from __future__ import annotations

import pytest
import torch

from camground.matcher.config import MatcherConfig
from camground.matcher.matcher import Matcher, Texts, smooth_max

WIDTH, CHANNELS, TEXT_WIDTH = 12, 6, 10


def make(relations: int = 2) -> Matcher:
    torch.manual_seed(0)
    config = MatcherConfig(width=WIDTH, relations=relations)
    return Matcher(config, CHANNELS, TEXT_WIDTH).eval()


def make_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of three images; tokens and mask of four texts."""
    torch.manual_seed(1)
    mask = torch.tensor([[True] * 3, [True, False, False], [True, True, False], [True] * 3])
    tokens = torch.randn(4, 3, TEXT_WIDTH) * mask[..., None]
    return torch.randn(3, CHANNELS, 5, 7), tokens, mask


@pytest.mark.parametrize("relations", [0, 2])
def test_scores_of_all_pairs_equal_those_of_each_pair(relations: int) -> None:
    model = make(relations)
    features, tokens, mask = make_inputs()
    table = model.logits_per_image(features, model.read(tokens, mask))
    assert table.shape == (3, 4)
    for text in range(4):
        texts = model.read(tokens[[text]], mask[[text]])
        for image in range(3):
            assert torch.allclose(table[image, text], model(features[[image]], texts)[0], atol=1e-5)


@pytest.mark.parametrize("relations", [0, 2])
def test_padding_of_texts_changes_nothing(relations: int) -> None:
    model = make(relations)
    features, tokens, mask = make_inputs()
    short = model(features[:1], model.read(tokens[1:2, :1], mask[1:2, :1]))
    padded = tokens[1:2].clone()
    padded[:, 1:] = 9.0
    long = model(features[:1], model.read(padded, mask[1:2]))
    assert torch.allclose(short, long, atol=1e-6)


@pytest.mark.parametrize("relations", [0, 2])
def test_cell_shares_are_the_gradient_of_the_pooled_similarity(relations: int) -> None:
    model = make(relations)
    features, tokens, mask = make_inputs()
    texts = model.read(tokens[:3], mask[:3])
    similarity = model.similarity(model.trunk(features), texts).detach().requires_grad_()
    shares = model.cell_shares(similarity)
    assert torch.allclose(shares.sum(-1), torch.ones(3), atol=1e-5)
    pooled = smooth_max(similarity, model.config.temperature)
    (gradient,) = torch.autograd.grad(pooled.sum(), similarity)
    assert torch.allclose(shares, gradient, atol=1e-5)


def test_the_smooth_maximum_lies_between_mean_and_maximum_and_passes_over_padding() -> None:
    values = torch.tensor([[1.0, 3.0, 2.0, 99.0], [5.0, 5.0, 5.0, 99.0]])
    valid = torch.tensor([[True, True, True, False]] * 2)
    assert torch.allclose(smooth_max(values, 0.01, valid), torch.tensor([3.0, 5.0]), atol=0.02)
    assert torch.allclose(smooth_max(values, 1e4, valid), torch.tensor([2.0, 5.0]), atol=0.02)
    assert torch.allclose(smooth_max(values[:, :3], 0.5), smooth_max(values, 0.5, valid))
    nothing = smooth_max(values, 0.1, torch.zeros(2, 4, dtype=torch.bool))
    assert nothing.isfinite().all()
    assert (nothing < -100).all()


def make_texts(rows: int, length: int, relations: int) -> Texts:
    make = torch.Generator().manual_seed(length)
    words, phrase = (torch.randn(rows, length, 6, generator=make), torch.randn(rows, 6, generator=make))
    mask, vector = torch.ones(rows, length, dtype=torch.bool), torch.randn(rows, 5, generator=make)
    if not relations:
        return Texts(words, mask, phrase, None, None, vector)
    landmarks = torch.randn(rows, relations, 6, generator=make)
    return Texts(words, mask, phrase, landmarks, torch.randn(rows, relations, 4, generator=make), vector)


@pytest.mark.parametrize("relations", [0, 2])
@pytest.mark.parametrize(("first", "second"), [((2, 3), (1, 5)), ((2, 5), (1, 3)), ((1, 4), (3, 4))])
def test_joined_texts_are_padded_on_the_right(
    first: tuple[int, int], second: tuple[int, int], relations: int
) -> None:
    one, other = make_texts(*first, relations), make_texts(*second, relations)
    joined = Texts.join(one, other)
    count = len(one.mask)
    longest = max(first[1], second[1])
    assert joined.words.shape == (count + len(other.mask), longest, 6)
    assert joined.mask.shape == joined.words.shape[:2]
    for part, rows in ((one, slice(count)), (other, slice(count, None))):
        length = part.mask.shape[1]
        assert torch.equal(joined.phrase[rows], part.phrase)
        assert torch.equal(joined.words[rows, :length], part.words)
        assert joined.mask[rows, :length].all()
        assert not joined.mask[rows, length:].any()
        assert not joined.words[rows, length:].any()
        for name in ("landmarks", "relations"):
            whole, own = getattr(joined, name), getattr(part, name)
            assert (whole is None) == (own is None) == (not relations)
            assert own is None or torch.equal(whole[rows], own)


def test_texts_are_taken_by_their_rows() -> None:
    texts = make_texts(4, 3, 2)
    taken = texts.take(torch.tensor([2, 0]))
    assert torch.equal(taken.phrase, texts.phrase[[2, 0]])
    assert taken.relations is not None
    assert texts.relations is not None
    assert torch.equal(taken.relations, texts.relations[[2, 0]])
    assert make_texts(4, 3, 0).take(torch.tensor([1])).landmarks is None


def test_a_new_matcher_takes_what_is_named_first_for_what_is_meant() -> None:
    """Captions alone do not say which of two related things is meant; with equal weights no relation is
    learnt."""
    model = make()
    tokens = torch.randn(200, 6, TEXT_WIDTH)
    _, weights = model.text(tokens, torch.ones(200, 6, dtype=torch.bool))
    mean = weights.mean(0)
    assert (mean[:-1] > 1.3 * mean[1:]).all()
