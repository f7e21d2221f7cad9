"""Losses: closed-form values."""

import math

import pytest
import torch

from pretext.losses import blind_guess, cross_entropy, nt_xent


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


def embeddings(items=5, width=7):
    return torch.randn(2 * items, width, generator=torch.Generator().manual_seed(0))


def nt_xent_by_hand(z, temperature):
    """The paper's formula, view by view, in double precision."""
    views, total = [v.double() for v in z], 0.0
    for i, view in enumerate(views):
        alike = [math.exp(torch.cosine_similarity(view, v, 0).item() / temperature) for v in views]
        partner = i + 1 if i % 2 == 0 else i - 1
        total -= math.log(alike[partner] / (sum(alike) - alike[i]))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_nt_xent_is_the_papers_formula(temperature):
    assert nt_xent(embeddings(), temperature).item() == pytest.approx(nt_xent_by_hand(embeddings(), temperature))


@pytest.mark.parametrize("items", [1, 2, 50])
def test_nt_xent_of_equal_embeddings_is_ln_of_the_number_of_others(items):
    same = torch.tensor([0.3, -2, 5]).expand(2 * items, -1)
    for z in (same, torch.zeros_like(same)):
        assert nt_xent(z, 0.5).item() == pytest.approx(math.log(2 * items - 1), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0])
def test_nt_xent_of_items_at_right_angles(temperature):
    z, others = torch.eye(8).repeat_interleave(2, 0), 14
    wanted = math.log(math.exp(1 / temperature) + others) - 1 / temperature
    assert nt_xent(z, temperature).item() == pytest.approx(wanted, rel=1e-5)


def test_nt_xent_knows_neither_length_nor_order_but_partners():
    z = embeddings()
    loss = nt_xent(z, 0.5)
    torch.testing.assert_close(nt_xent(z * torch.linspace(0.1, 30, 10)[:, None], 0.5), loss)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(nt_xent(z.view(5, 2, -1)[order].flatten(0, 1), 0.5), loss)
    torch.testing.assert_close(nt_xent(z.view(5, 2, -1).flip(1).flatten(0, 1), 0.5), loss)
    assert not torch.isclose(nt_xent(z.roll(1, 0), 0.5), loss)
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    where = shuffled.argsort()
    torch.testing.assert_close(nt_xent(z[shuffled], 0.5, where[shuffled ^ 1]), loss)


def test_nt_xent_teaches_finitely_and_in_full_precision():
    z = embeddings().bfloat16().requires_grad_()
    loss = nt_xent(z, 0.1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert z.grad.isfinite().all()
    assert z.grad.any(1).all()
