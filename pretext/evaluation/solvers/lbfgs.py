"""Softmax regression for many problems at once, by full-batch L-BFGS (Nocedal, Math. Comp. 1980).

A problem is an L2 strength and a weight for each item (a fold, a draw of a few labels). Its objective, the weighted
mean of the cross-entropy + l2/2 |W|^2 with a free bias, is convex: one right answer, found without a learning rate or
epochs. Problems share their passes over the data; step lengths, histories and convergence are each problem's own. A
step costs one pass, which gives the loss and the gradient where it ends, and another one if it has to be shortened.

Products are fast first, see `products`. Where a precise solution is wanted the exact ones have the last word: the
solver goes on with them until they agree that it is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretext.evaluation.solvers.logistic_problem import Design, Items
from pretext.evaluation.solvers.products import products

HISTORY = 10
REFRESH = 10  # iterations after which the curvature is looked at again: half the iterations where the penalty is weak
ARMIJO = 1e-4
CHECKED = 1e-5  # finer tolerances than this are confirmed by exact products
ROUNDING = 1e-7  # of a loss: below, the gradient still shows the way
FLOOR = 0.01  # no loss is called smaller: on separable data a weak penalty lets it fall for ever, to no one's use


Pair = tuple[Tensor, Tensor, Tensor]
"""A step, the change of the gradient along it, both (P, K, R), and 1 / their product, (P,)."""


@dataclass
class _Problems:
    """The state of P problems that are still being solved; the first dimension of each tensor counts them."""

    items: Items
    strength: Tensor  # (P,)
    weight: Tensor  # (P, K, R), the last column is the bias
    loss: Tensor  # (P,), float64: differences near the optimum drown in float32
    gradient: Tensor  # (P, K, R)
    before: Tensor  # (P,), the loss when the curvature was last seen
    curvature: Tensor  # (P, K, .), the second derivative as the items know it, seen every so often
    pairs: list[Pair]

    def keep(self, which: Tensor) -> None:
        """Go on with some problems only, `which` (P,) being true for them."""
        for name, value in vars(self).items():
            if name != "pairs":
                setattr(self, name, value.keep(which) if isinstance(value, Items) else value[which])
        self.pairs = [(step[which], bend[which], rho[which]) for step, bend, rho in self.pairs]  # a list of its own


@torch.no_grad()
def solve(
    design: Design,
    labels: Tensor,
    strengths: Tensor,
    start: Tensor,
    tolerance: float,
    share: Tensor | None = None,
    most: int = 1000,
) -> Tensor:
    """Minimise the weighted mean of the cross-entropy + l2/2 |W|^2 in P problems, each with its l2 of `strengths` (P,).

    `labels` (N,) or (P, N) in 0..K-1, `start` (P, K, R); `share` (P, N) weighs the items, 0 leaves one out; without
    it they weigh alike. Returns the weights (P, K, R), the last column being the bias. A problem is finished when the
    decrease that its quadratic model promises, or that of the last `REFRESH` iterations, is below `tolerance` of its
    loss (see `FLOOR`), or after `most` iterations.
    """
    items, pairs = _items(labels, start, share), list[Pair]()
    with products(fast=True):
        weight = _descend(design, _begin(design, items, strengths, start, pairs), tolerance, most)
    if tolerance >= CHECKED:
        return weight
    with products(fast=False):
        return _descend(design, _begin(design, items, strengths, weight, pairs), tolerance, most)


def _items(labels: Tensor, start: Tensor, share: Tensor | None) -> Items:
    target = labels.expand(len(start), labels.shape[-1])
    share = start.new_ones(target.shape) if share is None else share.to(start)
    return Items(target, share / share.sum(1, keepdim=True))


def _descend(design: Design, state: _Problems, tolerance: float, most: int) -> Tensor:
    """Iterate until every problem is finished; what a single one learnt of its curvature stays in its pairs."""
    solved, alive = state.weight.clone(), torch.arange(len(state.weight), device=state.weight.device)
    moved = torch.ones_like(alive, dtype=torch.bool)
    for count in range(most):
        enough = tolerance * state.loss.clamp_min(FLOOR)
        if count % REFRESH == 0:
            moved &= state.before - state.loss > enough
            state.before = state.loss
            state.curvature = design.curvature(state.weight, state.items, state.strength)
        direction = _direction(state, design)
        slope = _dot(state.gradient, direction)
        going = (-slope / 2 > enough) & moved
        if not going.all():
            solved[alive] = state.weight
            if not going.any():
                return solved
            alive, direction, slope, design = alive[going], direction[going], slope[going], design.keep(going)
            state.keep(going)
        moved = _advance(state, design, direction, slope)
    solved[alive] = state.weight
    return solved


def _begin(design: Design, items: Items, strengths: Tensor, start: Tensor, pairs: list[Pair]) -> _Problems:
    """Set up the state at `start`."""
    strength = strengths.to(start.device, torch.float64)
    never = torch.full_like(strength, torch.inf)
    loss, gradient = _objective(design, items, strength, start)
    return _Problems(items, strength, start, loss, gradient, never, start, pairs)


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
    length, before = _search(state, design, direction, slope)
    bend = state.gradient - before
    step = direction * _each(length, direction)
    along = _dot(step, bend)
    state.pairs.append((step, bend, torch.where(along > 0, 1 / along, 0.0)))
    del state.pairs[:-HISTORY]
    return length > 0


def _search(state: _Problems, design: Design, direction: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Shorten each problem's step from 1 until it decreases enough (Armijo), and take it.

    Returns lengths (P,), 0 where nothing decreases within the rounding of the loss, and the gradient left behind.
    """
    length, left = torch.ones_like(slope), state.gradient
    searching = torch.ones_like(slope, dtype=torch.bool)
    old, at, state.gradient = state.loss.clone(), state.weight, left.clone()
    state.weight, state.loss = at.clone(), old.clone()
    for _ in range(20):
        which = searching.nonzero()[:, 0]
        trial = at[which] + direction[which] * _each(length[which], direction)
        items, strength = state.items.keep(which), state.strength[which]
        loss, gradient = _objective(design.keep(searching), items, strength, trial)
        wanted = old[which] * (1 + ROUNDING) + ARMIJO * length[which] * slope[which]
        enough = loss <= wanted
        taken = which[enough]
        state.weight[taken], state.loss[taken], state.gradient[taken] = trial[enough], loss[enough], gradient[enough]
        searching[taken] = False
        if enough.all():
            break
        short = length[which]
        parabola = -slope[which] * short**2 / (2 * (loss - old[which] - slope[which] * short))
        length[which] = torch.where(enough, short, parabola.clamp(0.1 * short, 0.5 * short))
    return torch.where(searching, 0.0, length), left


def _objective(design: Design, items: Items, strength: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objective at (P, K, R), (P,), and its gradient (P, K, R)."""
    loss, gradient = design.evaluate(weight, items)
    gradient[..., :-1] += _each(strength, gradient) * weight[..., :-1]
    return loss + strength * _dot(weight[..., :-1], weight[..., :-1]) / 2, gradient


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products of two (P, K, R) for each of P problems, (P,), in float64."""
    return (a * b).sum((1, 2), dtype=torch.float64)


def _each(numbers: Tensor, like: Tensor) -> Tensor:
    """Prepare a number per problem, (P,), to multiply (P, K, .)."""
    return numbers.to(like.dtype)[:, None, None]
