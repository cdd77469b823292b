"""InfoNCE over a batch: which pairs are negatives, and the formula."""

from __future__ import annotations

import torch
from torch.nn import functional

from camground.training.contrastive import info_nce, positives, recall_at_1


def test_expressions_of_the_same_image_or_text_are_no_negatives() -> None:
    positive = positives(torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 5, 7]), 3)
    expected = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]]).bool()
    assert torch.equal(positive, expected)


def test_info_nce_is_cross_entropy_with_one_positive_each() -> None:
    logits = torch.randn(4, 4)
    expected = (
        functional.cross_entropy(logits, torch.arange(4))
        + functional.cross_entropy(logits.T, torch.arange(4))
    ) / 2
    assert torch.allclose(info_nce(logits, torch.eye(4).bool()), expected, atol=1e-5)


def test_info_nce_ignores_the_size_of_other_positives() -> None:
    logits, positive = torch.zeros(2, 3), torch.tensor([[1, 1, 0], [0, 0, 1]]).bool()
    before = info_nce(logits, positive)
    raised = logits.clone()
    raised[0, 0] = 5.0
    assert info_nce(raised, positive) < before


def test_further_negatives_compete_in_their_images_rows_alone() -> None:
    logits, positive = torch.randn(2, 3), torch.tensor([[1, 1, 0], [0, 0, 1]]).bool()
    extra = torch.tensor([[2.0, 9.0], [9.0, 9.0]])
    plain = info_nce(logits, positive)
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert torch.allclose(info_nce(logits, positive, extra, none), plain)
    # only the first text, and only of the first image: as if it were another text in that row
    first = torch.tensor([[True, False], [False, False]])

    def of_images(further: dict[int, list[float]]) -> torch.Tensor:
        """The images' half by hand: the mean over images of the mean over their positives."""
        total = torch.zeros(())
        for row in range(2):
            negatives = [*logits[row][~positive[row]].tolist(), *further.get(row, [])]
            for column in positive[row].nonzero().flatten().tolist():
                own = logits[row, column]
                against = torch.tensor([own.item(), *negatives]).logsumexp(0)
                total = total + (against - own) / positive[row].sum()
        return total / 2

    of_texts = 2 * plain - of_images({})
    expected = (of_images({0: [2.0]}) + of_texts) / 2
    assert torch.allclose(info_nce(logits, positive, extra, first), expected, atol=1e-5)


def test_recall_is_the_share_of_texts_whose_best_image_is_theirs() -> None:
    positive = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).bool()
    logits = torch.tensor([[2.0, 0.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    assert recall_at_1(logits, positive) == 0.5
