"""ESZSL against an independent ridge solution, ALE's gradient against autograd, and noiseless attributes."""

import pytest
import torch
from tolerance import assert_rounded

from pretext.core.rng import rng
from pretext.evaluation.solvers.zero_shot import METHODS, Known, ale_gradient, eszsl


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_eszsl_is_the_ridge_solution():
    """(X^T X + gamma I) W (S^T S + lambda I) = X^T Y S is one system in vec(W), by a Kronecker product.

    Its W minimises |X W S^T - Y|^2 + gamma |W S^T|^2 + lambda |X W|^2 + gamma lambda |W|^2, as the paper asks.
    """
    x, s, of = draw(12, 5), draw(4, 3, seed=1), torch.arange(12) % 4
    y = 2 * torch.eye(4, dtype=torch.float64)[of] - 1
    for gamma, penalty in ((0.3, 2.0), (5.0, 0.01)):
        left = x.T @ x + gamma * torch.eye(5).double()
        right = s.T @ s + penalty * torch.eye(3).double()
        wanted = torch.linalg.solve(torch.kron(left, right.T.contiguous()), (x.T @ y @ s).flatten()).view(5, 3)
        (found,) = eszsl(x, of, s, [(gamma, penalty)])
        assert_rounded(found, wanted, magnitude=100.0, operations=100, dtype=torch.float64)
        again = torch.autograd.functional.jacobian(lambda w, g=gamma, p=penalty: _objective(w, x, s, y, g, p), found)
        assert again.abs().max() < 1e-10


def _objective(w, x, s, y, gamma, penalty):
    fit = (x @ w @ s.T - y).square().sum()
    return (
        fit + gamma * (w @ s.T).square().sum() + penalty * (x @ w).square().sum() + gamma * penalty * w.square().sum()
    )


def test_ales_gradient_is_that_of_its_weighted_hinge():
    w, x, s, of = draw(5, 3), draw(6, 5, seed=1), draw(4, 3, seed=2), torch.tensor([0, 1, 2, 3, 0, 1])
    order = torch.rand(6, 4, generator=rng("cpu", "order"), dtype=torch.float64)
    w.requires_grad_()
    scores, loss = x @ w @ s.T, torch.zeros((), dtype=torch.float64)
    for i in range(6):  # as the paper's algorithm goes: one item after the other, one trial after the other
        wrong = sorted((k for k in range(4) if k != of[i]), key=lambda k: order[i, k])
        for trial, k in enumerate(wrong, 1):
            hinge = 1 + scores[i, k] - scores[i, of[i]]
            if hinge > 0:
                loss = loss + sum(1 / j for j in range(1, 3 // trial + 1)) * hinge / 6
                break
    (wanted,) = torch.autograd.grad(loss, w)
    assert wanted.abs().max() > 0.1
    assert_rounded(
        ale_gradient(w.detach().expand(2, -1, -1), x, of, s, order)[1],
        wanted,
        magnitude=10.0,
        operations=100,
        dtype=torch.float64,
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_noiseless_linear_attributes_give_every_unseen_class(method):
    """Features are a linear map of the attributes, which are all combinations of +1 and -1 in random places."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 5)[torch.randperm(32, generator=rng("cpu", 1))]
    known = Known(signs, signs > 0)
    of = torch.arange(24).repeat_interleave(3)
    mapped = draw(5, 9)
    x = signs[of] @ mapped
    unit = (x - x.mean(0)) / x.std(0)
    seen, unseen = known.take(torch.arange(24)), known.take(torch.arange(24, 32))
    (score,) = method.fit(unit, of, seen, [method.settings[0]], rng("cpu", "fit"))
    asked = (signs[24:] @ mapped - x.mean(0)) / x.std(0)
    assert score(asked, unseen).argmax(1).tolist() == list(range(8))
