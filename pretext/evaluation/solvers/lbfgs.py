"""Softmax regression for many problems at once, by full-batch L-BFGS (Nocedal, Math. Comp. 1980).

A problem is an L2 strength and a weight for each item (a fold, a draw of a few labels). Its objective, the weighted
mean of the cross-entropy + l2/2 |W|^2 with a free bias, is convex: one right answer, found without a learning rate or
epochs. Problems share their passes over the data, one (P*K, R) @ (R, N) product for the logits of the search direction
and one for the gradient; step lengths, histories and convergence are each problem's own. Logits are linear in the
step's length, so trying another length costs no pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.evaluation.solvers.logistic_problem import Design

HISTORY = 10
REFRESH = 10  # iterations after which the curvature is looked at again: half the iterations where the penalty is weak
ARMIJO = 1e-4
ROUNDING = 1e-7  # of a loss: below, the gradient still shows the way
FLOOR = 0.01  # no loss is called smaller: on separable data a weak penalty lets it fall for ever, to no one's use


class Solved(NamedTuple):
    """The solution of P problems."""

    weight: Tensor
    """(P, K, R), the last column being the bias."""
    logits: Tensor
    """(P, K, N), also of items that weigh nothing."""


@dataclass
class _Problems:
    """The state of P problems that are still being solved; the first dimension of each tensor counts them."""

    target: Tensor  # (P, 1, N), the labels as gather and scatter want them
    share: Tensor  # (P, N), the weight of each item, 1 in all
    strength: Tensor  # (P,)
    weight: Tensor  # (P, K, R), the last column is the bias
    logits: Tensor  # (P, K, N)
    loss: Tensor  # (P,), float64: differences near the optimum drown in float32
    before: Tensor  # (P,), the loss when the curvature was last seen
    curvature: Tensor  # (P, K, .), the second derivative as the items know it, seen every so often
    gradient: Tensor  # (P, K, R)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)  # step, change of gradient, 1 / <., .>

    def keep(self, which: Tensor) -> None:
        """Go on with some problems only, `which` (P,) being true for them."""
        for name, value in vars(self).items():
            if name != "pairs":
                setattr(self, name, value[which])
        self.pairs = [(step[which], bend[which], rho[which]) for step, bend, rho in self.pairs]


@torch.no_grad()
def solve(
    design: Design,
    labels: Tensor,
    strengths: Tensor,
    start: Tensor,
    tolerance: float,
    share: Tensor | None = None,
    most: int = 1000,
) -> Solved:
    """Minimise the weighted mean of the cross-entropy + l2/2 |W|^2 in P problems, each with its l2 of `strengths` (P,).

    `labels` (N,) or (P, N) in 0..K-1, `start` (P, K, R); `share` (P, N) weighs the items, 0 leaves one out; without
    it they weigh alike. A problem is finished when the decrease that its quadratic model promises, or that of the last
    `REFRESH` iterations, is below `tolerance` of its loss (see `FLOOR`), or after `most` iterations.
    """
    state = _begin(design, labels, strengths, start, share)
    solved, alive = Solved(start.clone(), state.logits.clone()), torch.arange(len(strengths), device=start.device)
    moved = torch.ones_like(alive, dtype=torch.bool)
    for count in range(most):
        enough = tolerance * state.loss.clamp_min(FLOOR)
        if count % REFRESH == 0:
            moved &= state.before - state.loss > enough
            state.before, state.curvature = state.loss, _curvature(state, design)
        direction = _direction(state, design)
        slope = _dot(state.gradient, direction)
        going = (-slope / 2 > enough) & moved
        if not going.all():
            _store(solved, alive, state)
            alive, direction, slope, design = alive[going], direction[going], slope[going], design.keep(going)
            state.keep(going)
            if len(alive) == 0:
                return solved
        moved = _advance(state, design, direction, slope)
    _store(solved, alive, state)
    return solved


def _store(solved: Solved, alive: Tensor, state: _Problems) -> None:
    solved.weight[alive], solved.logits[alive] = state.weight, state.logits


def _begin(design: Design, labels: Tensor, strengths: Tensor, start: Tensor, share: Tensor | None) -> _Problems:
    """Set up the state at `start`."""
    target = labels.expand(len(strengths), labels.shape[-1])[:, None]
    share = start.new_ones(target[:, 0].shape) if share is None else share.to(start)
    share = share / share.sum(1, keepdim=True)
    strength, logits = strengths.to(start.device, torch.float64), design.logits(start)
    never = torch.full_like(strength, torch.inf)
    state = _Problems(target, share, strength, start, logits, never, never, start, start)
    state.loss = _cross_entropy(state, logits) + strength * _inner(start, start) / 2
    state.gradient = _gradient(state, design)
    return state


def _direction(state: _Problems, design: Design) -> Tensor:
    """Return the descent direction by the two-loop recursion, (P, K, R); a pair with 1/<., .> = 0 is idle."""
    q, shares = state.gradient.clone(), []
    for step, bend, rho in reversed(state.pairs):
        shares.append(rho * _dot(step, q))
        q -= _each(shares[-1], q) * bend
    q = design.precondition(q, state.curvature)
    if state.pairs:  # scale the curvature seen to that met last
        _, bend, rho = state.pairs[-1]
        met = rho * _dot(bend, design.precondition(bend, state.curvature))
        q *= _each(torch.where(met > 0, 1 / met, 1.0), q)
    for (step, bend, rho), share in zip(state.pairs, reversed(shares), strict=True):
        q += _each(share - rho * _dot(bend, q), q) * step
    return -q


def _advance(state: _Problems, design: Design, direction: Tensor, slope: Tensor) -> Tensor:
    """Step along `direction` (P, K, R) and note the curvature met; returns (P,), false where no step decreased."""
    change = design.logits(direction)
    length, state.loss = _search(state, change, direction, slope)
    step = direction * _each(length, direction)
    state.weight = state.weight + step
    state.logits = torch.addcmul(state.logits, change, _each(length, change))
    before, state.gradient = state.gradient, _gradient(state, design)
    bend = state.gradient - before
    along = _dot(step, bend)
    state.pairs = [*state.pairs[1 - HISTORY :], (step, bend, torch.where(along > 0, 1 / along, 0.0))]
    return length > 0


def _search(state: _Problems, change: Tensor, direction: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Shorten each problem's step from 1 until it decreases enough (Armijo); returns lengths and losses, both (P,).

    `change` (P, K, N) is what a step of 1 does to the logits. Length 0: no decrease within the rounding of the loss.
    """
    linear, square = (state.strength * _inner(direction, other) for other in (state.weight, direction))
    penalty = state.strength * _inner(state.weight, state.weight) / 2
    length, best = torch.ones_like(slope), state.loss.clone()
    done = torch.zeros_like(slope, dtype=torch.bool)
    for _ in range(20):
        trial = torch.addcmul(state.logits, change, _each(length, change))
        loss = _cross_entropy(state, trial) + penalty + length * linear + length**2 * square / 2
        enough = (loss <= state.loss * (1 + ROUNDING) + ARMIJO * length * slope) & ~done
        best, done = torch.where(enough, loss, best), done | enough
        if done.all():
            break
        parabola = -slope * length**2 / (2 * (loss - state.loss - slope * length))
        length = torch.where(done, length, parabola.clamp(0.1 * length, 0.5 * length))
    return torch.where(done, length, 0.0), best


def _cross_entropy(state: _Problems, logits: Tensor) -> Tensor:
    """Return (P,), the weighted mean of the cross-entropy of logits (P, K, N)."""
    each = logits.logsumexp(1) - logits.gather(1, state.target)[:, 0]
    return (each * state.share).sum(1, dtype=torch.float64)


def _gradient(state: _Problems, design: Design) -> Tensor:
    """Return the gradient of the objective, (P, K, R)."""
    excess = state.logits.softmax(1)
    excess.scatter_add_(1, state.target, -torch.ones_like(excess[:, :1]))
    gradient = design.weighted_sum(excess.mul_(state.share[:, None]))
    gradient[..., :-1] += _each(state.strength, gradient) * state.weight[..., :-1]
    return gradient


def _curvature(state: _Problems, design: Design) -> Tensor:
    """Let the items look at the objective's second derivative."""
    probability = state.logits.softmax(1)
    return design.curvature(probability * (1 - probability) * state.share[:, None], state.strength)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products of two (P, K, R) for each of P problems, (P,), in float64."""
    return (a * b).sum((1, 2), dtype=torch.float64)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products without the bias, which has no penalty."""
    return _dot(a[..., :-1], b[..., :-1])


def _each(numbers: Tensor, like: Tensor) -> Tensor:
    """Prepare a number per problem, (P,), to multiply (P, K, .)."""
    return numbers.to(like.dtype)[:, None, None]
