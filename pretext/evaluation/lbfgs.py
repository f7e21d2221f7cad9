"""Softmax regression for many L2 strengths at once, by full-batch L-BFGS (Nocedal, Math. Comp. 1980).

The objective, mean cross-entropy + l2/2 |W|^2 with a free bias, is convex: one right answer, found without a learning
rate or epochs. All strengths share their passes over the data, one (S*K, R) @ (R, N) product for the logits of the
search direction and one for the gradient; step lengths, histories and convergence are each problem's own. Logits are
linear in the step's length, so trying another length costs no pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

HISTORY = 10
REFRESH = 10  # iterations after which the curvature is looked at again: half the iterations where the penalty is weak
ARMIJO = 1e-4
ROUNDING = 1e-7  # of a loss: below, the gradient still shows the way
FLOOR = 0.01  # no loss is called smaller: on separable data a weak penalty lets it fall for ever, to no one's use


@dataclass
class _Problems:
    """The state of S problems that are still being solved; the first dimension of each tensor counts them."""

    weight: Tensor  # (S, K, R), the last column is the bias
    logits: Tensor  # (S, K, N)
    loss: Tensor  # (S,), float64: differences near the optimum drown in float32
    ridge: Tensor  # (S, 1, R), the strength; 0 for the bias
    before: Tensor  # (S,), the loss when the curvature was last seen
    curvature: Tensor  # (S, K, R), the diagonal of the objective's second derivative, seen every so often
    gradient: Tensor  # (S, K, R)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)  # step, change of gradient, 1 / <., .>

    def keep(self, which: Tensor) -> None:
        """Go on with some problems only, `which` (S,) being true for them."""
        for name, value in vars(self).items():
            if name != "pairs":
                setattr(self, name, value[which])
        self.pairs = [(step[which], bend[which], rho[which]) for step, bend, rho in self.pairs]


@torch.no_grad()
def solve(z: Tensor, labels: Tensor, strengths: Tensor, start: Tensor, tolerance: float, most: int = 1000) -> Tensor:
    """Minimise mean cross-entropy + l2/2 |W|^2 for every l2 of `strengths` (S,) > 0; returns weights (S, K, R).

    `z` (N, R) whose last column is 1 for the bias, `labels` (N,) in 0..K-1, `start` (S, K, R). The less correlated the
    columns of `z`, the fewer the iterations; their scales do not matter. A problem is finished when the decrease that
    its quadratic model promises, or that of the last `REFRESH` iterations, is below `tolerance` of its loss (see
    `FLOOR`), or after `most` iterations.
    """
    state, target = _begin(z, labels, strengths, start)
    solution, alive = start.clone(), torch.arange(len(strengths), device=z.device)
    moved = torch.ones_like(alive, dtype=torch.bool)
    for count in range(most):
        enough = tolerance * state.loss.clamp_min(FLOOR)
        if count % REFRESH == 0:
            moved &= state.before - state.loss > enough
            state.before, state.curvature = state.loss, _curvature(state, z)
        direction = _direction(state)
        slope = _dot(state.gradient, direction)
        going = (-slope / 2 > enough) & moved
        if not going.all():
            solution[alive] = state.weight
            alive, direction, slope = alive[going], direction[going], slope[going]
            state.keep(going)
            if len(alive) == 0:
                return solution
        moved = _advance(state, z, target[: len(alive)], direction, slope)
    solution[alive] = state.weight
    return solution


def _begin(z: Tensor, labels: Tensor, strengths: Tensor, start: Tensor) -> tuple[_Problems, Tensor]:
    """Set up the state at `start`, and the labels (S, 1, N) as gather and scatter want them."""
    target = labels.expand(len(strengths), 1, -1)
    ridge = strengths.to(z)[:, None, None].repeat(1, 1, z.shape[1])
    ridge[..., -1] = 0
    logits = (start.flatten(0, 1) @ z.T).view(*start.shape[:2], -1)
    loss = _cross_entropy(logits, target) + _dot(ridge * start, start) / 2
    state = _Problems(start, logits, loss, ridge, torch.full_like(loss, torch.inf), start, start)
    state.gradient = _gradient(state, z, target)
    return state, target


def _direction(state: _Problems) -> Tensor:
    """Return the descent direction by the two-loop recursion, (S, K, R); a pair with 1/<., .> = 0 is idle."""
    q, shares = state.gradient.clone(), []
    for step, bend, rho in reversed(state.pairs):
        shares.append(rho * _dot(step, q))
        q -= _each(shares[-1], q) * bend
    q /= state.curvature
    if state.pairs:  # scale the diagonal to the curvature met last
        _, bend, rho = state.pairs[-1]
        met = rho * _dot(bend, bend / state.curvature)
        q *= _each(torch.where(met > 0, 1 / met, 1.0), q)
    for (step, bend, rho), share in zip(state.pairs, reversed(shares), strict=True):
        q += _each(share - rho * _dot(bend, q), q) * step
    return -q


def _advance(state: _Problems, z: Tensor, target: Tensor, direction: Tensor, slope: Tensor) -> Tensor:
    """Step along `direction` (S, K, R) and note the curvature met; returns (S,), false where no step decreased."""
    change = (direction.flatten(0, 1) @ z.T).view_as(state.logits)
    length, state.loss = _search(state, change, target, direction, slope)
    step = direction * _each(length, direction)
    state.weight = state.weight + step
    state.logits = torch.addcmul(state.logits, change, _each(length, change))
    before, state.gradient = state.gradient, _gradient(state, z, target)
    bend = state.gradient - before
    along = _dot(step, bend)
    state.pairs = [*state.pairs[1 - HISTORY :], (step, bend, torch.where(along > 0, 1 / along, 0.0))]
    return length > 0


def _search(
    state: _Problems, change: Tensor, target: Tensor, direction: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """Shorten each problem's step from 1 until it decreases enough (Armijo); returns lengths and losses, both (S,).

    `change` (S, K, N) is what a step of 1 does to the logits. Length 0: no decrease within the rounding of the loss.
    """
    pulled = state.ridge * direction
    linear, square = _dot(pulled, state.weight), _dot(pulled, direction)
    penalty = _dot(state.ridge * state.weight, state.weight) / 2
    length, best = torch.ones_like(slope), state.loss.clone()
    done = torch.zeros_like(slope, dtype=torch.bool)
    for _ in range(20):
        trial = torch.addcmul(state.logits, change, _each(length, change))
        loss = _cross_entropy(trial, target) + penalty + length * linear + length**2 * square / 2
        enough = (loss <= state.loss * (1 + ROUNDING) + ARMIJO * length * slope) & ~done
        best, done = torch.where(enough, loss, best), done | enough
        if done.all():
            break
        parabola = -slope * length**2 / (2 * (loss - state.loss - slope * length))
        length = torch.where(done, length, parabola.clamp(0.1 * length, 0.5 * length))
    return torch.where(done, length, 0.0), best


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return (S,), the mean cross-entropy of (S, K, N) with (S, 1, N)."""
    return (logits.logsumexp(1) - logits.gather(1, target)[:, 0]).mean(1, dtype=torch.float64)


def _gradient(state: _Problems, z: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of the objective, (S, K, R)."""
    excess = state.logits.softmax(1)
    excess.scatter_add_(1, target, -torch.ones_like(excess[:, :1]))
    return torch.addcmul((excess.flatten(0, 1) @ z / len(z)).view_as(state.weight), state.ridge, state.weight)


def _curvature(state: _Problems, z: Tensor) -> Tensor:
    """Return the diagonal of the objective's second derivative, (S, K, R)."""
    chance = state.logits.softmax(1)
    spread = (chance * (1 - chance)).flatten(0, 1) @ z.square() / len(z)
    return (spread.view_as(state.weight) + state.ridge).clamp_min(1e-12)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products of two (S, K, R) for each of S problems, (S,), in float64."""
    return (a * b).sum((1, 2), dtype=torch.float64)


def _each(numbers: Tensor, like: Tensor) -> Tensor:
    """Prepare a number per problem, (S,), to multiply (S, K, .)."""
    return numbers.to(like.dtype)[:, None, None]
