"""Losses: closed-form values."""

import math

import pytest
import torch

from pretext.losses import blind_guess, cross_entropy


@pytest.mark.parametrize("classes", [2, 4, 100, 1000])
def test_equal_logits_score_as_a_blind_guess(classes):
    """ln 4 = 1.3863 for rotation, ln 100 = 4.6052 for jigsaw; one label of each class."""
    grade, blind = cross_entropy(torch.zeros(classes, classes), torch.arange(classes)), blind_guess(classes)
    assert grade.loss.item() == pytest.approx(math.log(classes), rel=1e-6) == pytest.approx(blind.loss.item())
    assert (
        grade.scores["accuracy"].item() == pytest.approx(1 / classes) == pytest.approx(blind.scores["accuracy"].item())
    )


def test_a_known_value():
    """Log-odds of ln 3 are 3 : 1; the first is right (-ln 3/4), the second wrong (-ln 1/4)."""
    grade = cross_entropy(torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]]), torch.tensor([0, 1]))
    assert grade.loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert grade.scores["accuracy"] == 0.5


def test_half_precision_logits_are_graded_in_full():
    """In bfloat16, 3 significant digits, ln 1000 would be 6.9062 and a mean of many losses worse."""
    grade = cross_entropy(torch.zeros(8, 1000, dtype=torch.bfloat16), torch.zeros(8, dtype=torch.int64))
    assert grade.loss.dtype == torch.float32
    assert grade.loss.item() == pytest.approx(math.log(1000), rel=1e-6)


def test_the_loss_teaches_and_the_score_is_for_the_log():
    logits = torch.zeros(2, 2, requires_grad=True)
    grade = cross_entropy(logits, torch.tensor([0, 1]))
    grade.loss.backward()
    assert logits.grad.tolist() == [[-0.25, 0.25], [0.25, -0.25]]
    assert not grade.scores["accuracy"].requires_grad
