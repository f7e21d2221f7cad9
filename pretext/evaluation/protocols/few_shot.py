"""Few shots: how well do frozen features tell new classes apart from one item or five of each?

An episode draws classes and items of the test set. Its examples are all that its classifiers learn from; the training
set gives the mean and the spread of features, and no label. All stages and networks meet the same episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize, one_hot

from pretext.core.rng import rng as keyed
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.lbfgs import solve
from pretext.evaluation.solvers.logistic_problem import SeparateDesigns
from pretext.evaluation.solvers.standardize import standardizer_of
from pretext.evaluation.statistics.intervals import student

WAYS, SHOTS, QUERIES, EPISODES = 5, (1, 5), 15, 600
STRENGTH = 1.0  # of the linear probe, as `low_label` takes it where nothing can be held out
TOLERANCE = 1e-5
TOGETHER = 2**22  # values of features that are looked at together


class Episodes(NamedTuple):
    """E episodes of N classes, K examples and Q questions each."""

    support: Tensor
    """(E, N K) positions of items, class by class."""
    query: Tensor
    """(E, N Q)"""
    ways: int


def draw(labels: Tensor, ways: int, shots: int, queries: int, episodes: int = EPISODES) -> Episodes | None:
    """Draw episodes among items with labels (N,): always the same ones for the same labels.

    Classes of fewer than `shots` + 1 items are left out, and where the smallest of the others has fewer than `shots` +
    `queries` there are fewer questions. None: fewer than two classes are left. Of fewer than `ways` all are taken.
    """
    members = [(labels == label).nonzero()[:, 0] for label in torch.unique(labels).tolist()]
    members = [items for items in members if len(items) > shots]
    if len(members) < 2:
        return None
    ways, asked = min(ways, len(members)), min(queries, min(map(len, members)) - shots)
    drawn = []
    for number in range(episodes):
        generator = keyed("cpu", "few shot", shots, number)
        classes = torch.randperm(len(members), generator=generator)[:ways].tolist()
        orders = [torch.randperm(len(members[c]), generator=generator)[: shots + asked] for c in classes]
        drawn.append(torch.stack([members[c][order] for c, order in zip(classes, orders, strict=True)]))
    items = torch.stack(drawn)  # (E, N, K + Q)
    return Episodes(items[..., :shots].flatten(1), items[..., shots:].flatten(1), ways)


@torch.no_grad()
def by_centroid(train: Tensor, test: Tensor, episodes: Episodes) -> Tensor:
    """Name questions by the nearest mean of examples (n, D), centred and of unit length: accuracies (E,).

    As SimpleShot has it (https://arxiv.org/abs/1911.04623); `train` gives the centre.
    """
    unit = normalize(test.float() - train.float().mean(0), dim=1)
    right = []
    for support, query in _parts(episodes, unit.shape[1]):
        means = unit[support].view(len(support), episodes.ways, -1, unit.shape[1]).mean(2)
        right.append(_right(-torch.cdist(unit[query], means), episodes.ways))
    return torch.cat(right)


@torch.no_grad()
def by_linear_probe(train: Tensor, test: Tensor, episodes: Episodes, strength: float = STRENGTH) -> Tensor:
    """Name questions by logistic regression on the examples' standardised features (n, D): accuracies (E,).

    `train` gives mean and spread. The penalty keeps the weights among the examples, so that the problem is as small as
    they are few.
    """
    standardizer, right = standardizer_of(train, most=0), []
    for support, query in _parts(episodes, test.shape[1]):
        x, asked = (
            standardizer.standardise(test[rows.flatten()]).view(*rows.shape, -1).double() for rows in (support, query)
        )
        squared, turn = torch.linalg.eigh(x @ x.mT)
        length = squared.clamp_min(1e-9 * squared[:, -1:].clamp_min(1e-30)).sqrt()[:, None]
        z = torch.cat([turn * length, torch.ones_like(turn[..., :1])], dim=2).to(standardizer.centre)
        answers = _classes(episodes.ways, support.shape[1]).to(z.device)
        start = z.new_zeros(len(z), episodes.ways, z.shape[2])
        solved = solve(SeparateDesigns(z), answers, z.new_full((len(z),), strength), start, TOLERANCE).double()
        seen = asked @ x.mT @ turn / length
        right.append(_right(seen @ solved[..., :-1].mT + solved[:, None, :, -1], episodes.ways))
    return torch.cat(right)


def _parts(episodes: Episodes, width: int) -> Sequence[tuple[Tensor, Tensor]]:
    """Cut episodes to parts whose features fit into memory."""
    rows = episodes.support.shape[1] + episodes.query.shape[1]
    size = max(1, TOGETHER // (rows * width))
    return list(zip(torch.split(episodes.support, size), torch.split(episodes.query, size), strict=True))


def _classes(ways: int, rows: int) -> Tensor:
    return torch.arange(ways).repeat_interleave(rows // ways)


def _right(scores: Tensor, ways: int) -> Tensor:
    """Return the share of questions that scores (e, N Q, N) answer right, (e,); equal ones share the answer."""
    best = (scores == scores.amax(2, keepdim=True)).double()
    answers = one_hot(_classes(ways, scores.shape[1]), ways).to(best)
    return (best * answers).sum(2).div(best.sum(2)).mean(1)


def _said(name: str, accuracies: Tensor) -> dict[str, float]:
    """Say the mean accuracy of episodes and its 95 % interval, over episodes."""
    span = student(accuracies.tolist())
    return {name: float(accuracies.mean()), f"{name}_low": span.low, f"{name}_high": span.high}


def _metric(key: str, title: str, shots: int) -> Metric:
    about = f"Accuracy of new classes with {shots} labelled item{'s' * (shots > 1)} of each, by {title}."
    return Metric(
        f"{key}_{shots}", f"{shots}-shot, {title}", f"{shots}-shot {key}", "%", "larger", "Student's t", about
    )


class FewShot(Protocol):
    """Accuracy in episodes of test items: nearest centroid on a stage's average, a linear probe on its grid."""

    description = Description(
        name="few_shot",
        title=f"Few shots: {EPISODES} episodes of {WAYS} classes",
        short="Few shots",
        about=f"{EPISODES} episodes of {WAYS} test classes, {QUERIES} questions of each (or as many of both as there "
        "are); nearest centroid on each stage's average, centred and of unit length; logistic regression "
        f"on its standardised grid, l2 {STRENGTH:g}; 95 % by Student's t over episodes, of these classes alone",
        metrics=tuple(
            _metric(key, title, shots)
            for shots in SHOTS
            for key, title in (("centroid", "nearest centroid"), ("linear", "linear probe"))
        ),
        apart=True,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.single and any(draw(sets.test.labels, WAYS, shots, QUERIES, 1) for shots in SHOTS)

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        (train, test), (coarse, grid) = sets.mean(stage), sets.grid(stage)
        figures: dict[str, float] = {}
        for shots in SHOTS:
            episodes = draw(sets.test.labels, WAYS, shots, QUERIES)
            if episodes is not None:
                figures |= _said(f"centroid_{shots}", by_centroid(train, test, episodes))
                figures |= _said(f"linear_{shots}", by_linear_probe(coarse, grid, episodes))
                figures |= {"ways": episodes.ways, f"questions_{shots}": episodes.query.shape[1], "episodes": EPISODES}
        return Score(figures)
