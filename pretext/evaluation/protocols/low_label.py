"""Few labels: how good is the linear probe where only some training items are labelled?

A draw takes as many items of each class as its size says; the items of a smaller size are among those of a larger one
of the same draw. Every item, labelled or not, helps to standardise the features, as it helped to train the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pretext.core.rng import rng
from pretext.evaluation.folds import stratified, stratified_folds
from pretext.evaluation.protocol import Curve, Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.lbfgs import solve
from pretext.evaluation.solvers.logistic_problem import SeparateDesigns, SharedDesign
from pretext.evaluation.solvers.logistic_regression import (
    FINE,
    ROUGH,
    STRENGTHS,
    Linear,
    check,
    choose_strength,
    positive,
)
from pretext.evaluation.solvers.standardize import MOST_AXES, Standardizer, principal_axes, standardizer_of
from pretext.evaluation.statistics.intervals import student, wilson

# The strength where each class has one item, so that none can be held out. It hardly matters there: from 1e-4 to 100,
# the mean of 30 draws stays within 1.2 points on scikit-learn's digits and within 0.4 on 1,435 photos of clothes
# (pixels, two stages of a random ResNet-18), less than its interval of +- 1.3 to 2.5. So, as of equals elsewhere, a
# strong one.
SINGLE = 1.0
FOLDS = 5
TOGETHER = 256  # items: draws of at most so many are solved in one batch
FOLDED = 2000  # items: draws of more hold out one share, as `linear.probe` does, instead of each of five in turn


class Point(NamedTuple):
    """Accuracy at one number of labels."""

    labels: str
    """"5 per class" or "10 %"."""
    items: int
    """Labelled items in each draw."""
    draws: int
    accuracy: float
    """Mean share of test items named right, over the draws."""
    low: float
    """Of the 95 % interval: Student's t over draws (they share the test items), Wilson's of a single draw."""
    high: float
    each: list[float]
    """The accuracy of each draw."""


@torch.no_grad()
def low_label(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    answers: Tensor,
    per_class: Sequence[int] = (1, 5, 10, 20, 100),
    shares: Sequence[float] = (0.01, 0.1, 1.0),
    draws: int = 5,
    strengths: Sequence[float] = STRENGTHS,
) -> list[Point]:
    """Fit linear classifiers on few items of `train` (N, D), score them on `test` (M, D), smallest sizes first.

    Each size takes a fixed number of items `per_class`, or one of the `shares` of every class. A size that some class
    cannot give (fewer items than that, a share of less than half an item) is left out. There are `draws` of each size,
    one of 100 %. The strength is chosen among a draw's own items, by five stratified folds or, beyond 2,000 items, on
    a stratified fifth; with one item per class, where nothing can be held out, it is 1 (see `SINGLE`).

    Raises:
        ValueError: as in `linear.probe`; fewer than one draw, a size or share out of range, no size that can be drawn.

    """
    check(train, labels, test, answers)
    positive(strengths)
    classes, positions = torch.unique(labels, return_inverse=True)
    sizes = _sizes(positions.bincount().cpu(), per_class, shares, draws)
    standardizer, fitted = standardizer_of(train, most=0), []
    for _, counts in sizes:
        chosen = _draws(positions, counts, 1 if int(counts.sum()) == len(train) else draws).to(train.device)
        of = torch.arange(len(classes)).repeat_interleave(counts).to(train.device)
        together = chosen.shape[1] <= TOGETHER
        several = [_solve_together(train, chosen, of, standardizer, strengths)] if together else []
        alone = [] if together else [_solve_alone(train[rows], of, standardizer, strengths) for rows in chosen]
        fitted.append(torch.cat(several + alone))
    predicted = classes[Linear(standardizer, torch.cat(fitted)).predict(test)].split(
        [len(solutions) for solutions in fitted]
    )
    right = [(predictions == answers).sum(1).tolist() for predictions in predicted]
    return [_point(name, int(counts.sum()), hits, len(test)) for (name, counts), hits in zip(sizes, right, strict=True)]


def _sizes(counts: Tensor, per_class: Sequence[int], shares: Sequence[float], draws: int) -> list[tuple[str, Tensor]]:
    """Return the name of each size and how many items it takes of each class, (K,), of `counts` (K,)."""
    if draws < 1 or min(per_class, default=1) < 1 or not all(0 < share <= 1 for share in shares):
        raise ValueError(
            f"low_label got per_class={tuple(per_class)}, shares={tuple(shares)}, draws={draws}; it wants sizes and "
            "draws of at least 1, and shares above 0 up to 1"
        )
    fixed = [(f"{size} per class", torch.full_like(counts, size)) for size in per_class]
    relative = [(f"{100 * share:g} %", (share * counts).round().long()) for share in shares]
    given = [(name, size) for name, size in fixed + relative if bool(((size >= 1) & (size <= counts)).all())]
    if not given:
        raise ValueError(
            f"low_label got per_class={tuple(per_class)}, shares={tuple(shares)}, but the smallest class has "
            f"{int(counts.min())} training items, which is too few for any of them; pass smaller sizes"
        )
    return sorted(given, key=lambda named: int(named[1].sum()))


def _draws(positions: Tensor, counts: Tensor, draws: int) -> Tensor:
    """Draw `counts` (K,) items of each class, class by class: indices (draws, n)."""
    members = [(positions == label).nonzero()[:, 0].cpu() for label in range(len(counts))]
    chosen = []
    for draw in range(draws):
        orders = [torch.randperm(len(m), generator=rng("cpu", "low label", draw, k)) for k, m in enumerate(members)]
        chosen.append(torch.cat([m[order[:n]] for m, order, n in zip(members, orders, counts.tolist(), strict=True)]))
    return torch.stack(chosen)


def _solve_together(
    train: Tensor, chosen: Tensor, of: Tensor, standardizer: Standardizer, strengths: Sequence[float]
) -> Tensor:
    """Solve all draws, `chosen` (B, n), in one batch, of their folds and strengths another; solutions (B, K, D + 1)."""
    x = torch.stack([standardizer.standardise(train[rows]) for rows in chosen]).double()
    squared, turn = torch.linalg.eigh(x @ x.mT)  # the penalty keeps the weights among the n items: z = turn * length
    length = squared.clamp_min(1e-9 * squared[:, -1:]).sqrt()[:, None]
    z = torch.cat([turn * length, torch.ones_like(turn[..., :1])], dim=2).to(standardizer.centre)
    best = _strengths_together(z, of, strengths) if bool((of.bincount() > 1).any()) else [SINGLE] * len(chosen)
    start = z.new_zeros(len(z), int(of.max()) + 1, z.shape[2])
    solved = solve(SeparateDesigns(z), of, torch.tensor(best), start, FINE)
    to_features = (solved[..., :-1].double() / length) @ (turn.mT @ x)
    return torch.cat([to_features.to(solved), solved[..., -1:]], dim=2)


def _strengths_together(z: Tensor, of: Tensor, strengths: Sequence[float]) -> list[float]:
    """Choose a strength for each of the draws z (B, n, R) by stratified folds; of equals, the strongest."""
    held, order = stratified_folds(of, FOLDS), sorted(strengths, reverse=True)
    problems = z.repeat_interleave(len(order) * len(held), 0)  # draw by draw, strength by strength, fold by fold
    numbers = torch.tensor(order).repeat_interleave(len(held)).repeat(len(z))
    start = z.new_zeros(len(problems), int(of.max()) + 1, z.shape[2])
    fitted = (~held).repeat(len(z) * len(order), 1)
    design = SeparateDesigns(problems)
    solved = solve(design, of, numbers, start, ROUGH, fitted)
    named = (design.classes(solved) == of).view(len(z), len(order), *held.shape) & held
    return [order[i] for i in named.sum((2, 3)).cpu().numpy().argmax(1)]  # NumPy's is the first of equals


def _solve_alone(rows: Tensor, of: Tensor, standardizer: Standardizer, strengths: Sequence[float]) -> Tensor:
    """Solve one draw of n items (n, D), (1, K, D + 1)."""
    own = standardizer._replace(axes=principal_axes(rows, standardizer) if min(rows.shape) <= MOST_AXES else None)
    design = SharedDesign(rows, own)
    strength, start = SINGLE, rows.new_zeros(1, int(of.max()) + 1, design.width, dtype=torch.float32)
    if int(of.bincount().max()) > 1:  # else there is nothing to hold out
        held = stratified_folds(of, FOLDS) if len(rows) <= FOLDED else stratified(of)[None]
        strength, _, start = choose_strength(design, of, int(of.max()) + 1, strengths, held)
    solved = solve(design, of, torch.tensor([strength]), start, FINE)
    return torch.cat([own.to_features(solved[..., :-1]), solved[..., -1:]], dim=2)


def _point(name: str, items: int, right: list[int], total: int) -> Point:
    each = [hits / total for hits in right]
    # Draws that agree to the last item say nothing of how far to trust them: then the test items' own interval.
    span = wilson(right[0], total) if len(set(right)) == 1 else student(each)
    return Point(name, items, len(each), mean(each), span.low, span.high, each)


class LowLabel(Protocol):
    """The linear probe with few labels, on the grid of the stage that it chose with all of them."""

    description = Description(
        name="low_label",
        title="Linear probe on few labels",
        short="Few labels",
        about="linear probe on few labels, several draws of them, Student's t over draws; of the stage that all labels "
        "chose",
        metrics=(Metric("accuracy", "accuracy", unit="%", interval="Student's t over draws"),),
        needs=("linear",),
        once=True,
        curve=Curve("labels", "items", "Labels", "Items"),
    )

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        (train, test), (labels, answers) = sets.grid(stage), sets.labels()
        return Score(points=tuple(Score(point._asdict()) for point in low_label(train, labels, test, answers)))
