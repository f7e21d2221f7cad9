"""Losses: closed-form values."""

import math
from itertools import permutations

import pytest
import torch

from pretext.nn.losses import (
    blind_guess,
    contrastive,
    cross_entropy,
    info_nce,
    max_margin,
    nt_xent,
    ranking,
    triplet,
)


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


@pytest.mark.parametrize("constant", [0.0, -3.0, 1e4])
def test_contrastive_of_equal_embeddings_is_half_the_margin_squared(constant):
    """0.99^2 / 2 = 0.49005, the value that a collapsed run of AVTS shows."""
    z = torch.full((8, 5), constant)
    grade = contrastive((z - z).norm(dim=1), torch.arange(8) % 2, 0.99)
    assert grade.loss.item() == pytest.approx(0.49005, abs=1e-7)
    assert grade.scores["accuracy"] == 0.5


def test_contrastive_in_closed_form():
    """Alike at 0.1 and 0.6: 0.01 and 0.36; apart at 0.2, 0.7 and 3: 0.64, 0.09 and nothing."""
    grade = contrastive(torch.tensor([0.1, 0.6, 0.2, 0.7, 3]), torch.tensor([1, 1, 0, 0, 0]), 1.0)
    assert grade.loss.item() == pytest.approx((0.01 + 0.36 + 0.64 + 0.09 + 0) / 5)
    assert grade.scores["accuracy"].item() == pytest.approx(3 / 5)  # 0.1, 0.7 and 3 lie on their side of 0.5


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_best_distance_is_the_share_of_pairs_apart_times_the_margin(share):
    alike = torch.arange(10) >= 10 * share
    costs = {step: contrastive(torch.full((10,), step / 100), alike, 1.0).loss.item() for step in range(101)}
    assert min(costs, key=costs.get) == round(100 * share)


def test_two_constants_half_a_margin_apart_cost_half_and_tell_nothing():
    grade = contrastive(torch.full((8,), 0.5), torch.arange(8) % 2, 1.0)
    assert grade.loss.item() == 0.25
    assert grade.scores["accuracy"] == 0.5


def off_diagonal(n, right, wrong):
    return torch.full((n, n), wrong).fill_diagonal_(right)


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("distance", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("items", [2, 7])
def test_equal_distances_cost_the_margin(items, distance, hardest):
    same = torch.full((items, items), distance)
    assert max_margin(same, 2.0, hardest).item() == pytest.approx(2)
    assert ranking(-same) == 0.5


def test_max_margin_in_closed_form():
    """Row 0: 0.1 + (0.9 + 0.5) / 2; row 1: 0 + (0 + 0.8) / 2; row 2: 3 + (1 + 0.4) / 2. The hardest: 0.9, 0.8, 1."""
    distances = torch.tensor([[0.1, 0.1, 0.5], [5.0, 0.0, 0.2], [0.0, 0.6, 3.0]])
    assert max_margin(distances, 1.0).item() == pytest.approx((0.8 + 0.4 + 3.7) / 3)
    assert max_margin(distances, 1.0, hardest=True).item() == pytest.approx((1.0 + 0.8 + 4.0) / 3)
    assert max_margin(off_diagonal(4, 0.0, 1.0), 1.0) == 0


@pytest.mark.parametrize("hardest", [False, True])
def test_no_guess_that_does_not_know_the_right_pairs_costs_less_than_the_margin(hardest):
    """Averaged over every way to pair, whatever the distances are."""
    distances = 2 * torch.rand(4, 4, generator=torch.Generator().manual_seed(3))
    costs = [max_margin(distances[:, list(order)], 1.0, hardest).item() for order in permutations(range(4))]
    assert sum(costs) / len(costs) >= 1


@pytest.mark.parametrize("items", [2, 9, 200])
def test_info_nce_of_equal_similarities_is_ln_n(items):
    same = torch.full((items, items), 0.7)
    assert info_nce(same).item() == pytest.approx(math.log(items), rel=1e-6)
    assert info_nce(same, hardest=True).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_info_nce_of_items_at_right_angles(temperature):
    wanted = math.log(math.exp(1 / temperature) + 5) - 1 / temperature
    assert info_nce(torch.eye(6) / temperature).item() == pytest.approx(wanted, abs=1e-6)
    hardest = math.log(1 + math.exp(-1 / temperature))
    assert info_nce(torch.eye(6) / temperature, hardest=True).item() == pytest.approx(hardest, abs=1e-6)


def test_info_nce_has_its_known_values():
    """Eight orthonormal pairs at temperature 0.5: ln(1 + 7 / e^2), and 1 / 0.5 more each with the next second."""
    assert info_nce(torch.eye(8) / 0.5).item() == pytest.approx(0.6664679, abs=1e-7)
    assert info_nce(torch.eye(8).roll(1, 0) / 0.5).item() == pytest.approx(2.6664679, abs=5e-7)


def test_info_nce_looks_both_ways():
    """Every row finds its column, but the first column draws both rows: ln(1 + e^-1) and ln(1 + e^1) by columns."""
    similarities = torch.tensor([[9.0, 0.0], [8.0, 9.0]])
    rows = (math.log(1 + math.exp(-9)) + math.log(1 + math.exp(-1))) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-9))) / 2
    assert info_nce(similarities).item() == pytest.approx((rows + columns) / 2)
    lopsided = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    rows = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-1))) / 2
    columns = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-3))) / 2
    for hardest in (False, True):  # of two there is one wrong one
        assert info_nce(lopsided, hardest).item() == pytest.approx((rows + columns) / 2)
    torch.testing.assert_close(info_nce(lopsided), info_nce(lopsided.mT))


def test_the_ranking_counts_wrong_ones_that_are_less_similar():
    """Row 0 beats one and ties with one of two others, row 1 beats none, row 2 both."""
    similarities = torch.tensor([[2.0, 2.0, 1.0], [3.0, 1.0, 2.0], [-1.0, 0.0, 5.0]], requires_grad=True)
    assert ranking(similarities).item() == pytest.approx((0.75 + 0 + 1) / 3)
    assert not ranking(similarities).requires_grad


@pytest.mark.parametrize(
    "loss", [lambda m: max_margin(m, 1.0), lambda m: max_margin(m, 1.0, True), info_nce, lambda m: triplet(m, 1.0)]
)
def test_losses_of_pairs_teach_in_full_precision(loss):
    matrix = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    value = loss(matrix)
    value.backward()
    assert value.dtype == torch.float32
    assert matrix.grad.isfinite().all()
    assert matrix.grad.diagonal().all()


EXAMPLE = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.5, 0.6], [0.3, 0.4, 0.7]])


def test_the_hardest_negatives_of_both_directions_have_their_known_values():
    """Rows cost 0.1, 0.3 and 0, columns 0, 0.5 and 0.1."""
    assert triplet(EXAMPLE, 0.2, hardest=True, reduction="sum").item() == pytest.approx(1.0, abs=1e-6)
    assert triplet(EXAMPLE, 0.2, hardest=True).item() == pytest.approx(1 / 3, abs=1e-6)
    assert triplet(EXAMPLE.mT, 0.2, hardest=True).item() == pytest.approx(1 / 3, abs=1e-6)


def test_all_negatives_count_alike_without_the_hardest():
    """Rows cost 0.1 + 0, 0 + 0.3 and 0 + 0 over two, columns 0 + 0, 0.5 + 0.1 and 0 + 0.1."""
    assert triplet(EXAMPLE, 0.2, reduction="sum").item() == pytest.approx((0.4 + 0.7) / 2, abs=1e-6)


@pytest.mark.parametrize("hardest", [False, True])
def test_a_triplet_of_equal_similarities_costs_the_margin_twice(hardest):
    assert triplet(torch.full((5, 5), 0.3), 0.2, hardest).item() == pytest.approx(0.4, rel=1e-6)
