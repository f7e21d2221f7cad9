"""Everything that is asked about one network's features, stage by stage, with nothing chosen on test items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.evaluation.available import DEFAULT, ONCE, in_row_order, protocols_named
from pretext.evaluation.embed import Embedded
from pretext.evaluation.protocol import Protocol, Sets
from pretext.evaluation.results import Curves, Part, Point, StageRow
from pretext.evaluation.solvers.logistic_regression import check


@dataclass(frozen=True)
class Measured:
    """What was measured of one network.

    Args:
        rows: one for each stage.
        curves: of the protocols that are measured once, at the chosen stage.
        items: how many items train and test hold.
        blind_guess: what knowing nothing gives, see `blind_guess`; None without labels.

    """

    rows: tuple[StageRow, ...]
    curves: Curves
    items: tuple[int, int]
    blind_guess: float | None


def measure(
    train: Embedded,
    test: Embedded,
    protocols: Sequence[str | Protocol] = DEFAULT,
    views: Sequence[Embedded] = (),
    device: torch.device | str = "cpu",
    classes: Sequence[str] = (),
    pair: tuple[str, str] | None = None,
    examples: Embedded | None = None,
) -> Measured:
    """Measure every stage of `train` and `test`, and mark the one that is best on a validation share of train.

    `views` are the training items embedded again, each time augmented anew. They add to what linear probes are fitted
    on, and tell how alike a network finds two views of one item. Protocols that do not suit the sets are left out: of
    this project's, only linear SVMs and label-free scores suit items with several labels, (N, K), and only ridge
    regression and label-free scores suit numbers, floats (N, V). `classes` are the names of the labels, `pair` and
    `examples` belong to two encoders, for protocols that want them.

    Raises:
        ValueError: no labels, no protocol that suits the sets, or as in `protocols_named`, `check` and the protocols.

    """
    sets = Sets(train, test, views, torch.device(device), classes, pair, examples)
    wanted = _wanted(protocols, sets)
    by_labels = any(protocol.description.labels for protocol in wanted)
    if not wanted or (by_labels and not sets.labelled):
        names = [protocol if isinstance(protocol, str) else protocol.description.name for protocol in protocols]
        raise ValueError(
            f"measure got {len(train.labels)} labels of shape {tuple(train.labels.shape)} and the protocols "
            f"{names}; sets with several labels an item want svm or quality, numbers (N, V) regression or quality, "
            "others labels (N,); maps and masks are read by pretext.Regression and pretext.Segmentation"
        )
    if sets.single and by_labels:
        first = next(iter(train.mean))
        check(train.mean[first], train.labels, test.mean[first], test.labels)
    rows = [_row(stage, sets, [one for one in wanted if not one.description.once]) for stage in train.grid]
    preferred = _by_preference(wanted)
    best = max(rows, key=lambda row: _validation(row, preferred) or 0.0)
    known = _validation(best, preferred) is not None
    once = {one.description.name: _points(best.stage, sets, one) for one in wanted if one.description.once}
    curves: Curves = dict.fromkeys(ONCE, ()) | once
    items = (len(next(iter(train.mean.values()))), len(next(iter(test.mean.values()))))
    guess = blind_guess(train.labels, test.labels) if sets.labelled else None
    return Measured(tuple(replace(row, chosen=known and row is best) for row in rows), curves, items, guess)


def blind_guess(labels: Tensor, answers: Tensor) -> float:
    """Return what knowing nothing gives: accuracy of the most frequent class; of several labels the mean precision.

    `labels` (N,) or (N, K) of train, `answers` likewise of test; the mean average precision of guessing is the share of
    positives, averaged over classes. Of numbers it is their mean, which explains 0 of their variance.
    """
    if labels.is_floating_point():
        return 0.0
    if answers.ndim == 1:
        return float((answers == labels.mode().values).double().mean())
    judged, positive = (answers >= 0).sum(0), (answers > 0).sum(0)
    return float((positive / judged.clamp_min(1))[judged > 0].double().mean())


def _wanted(protocols: Sequence[str | Protocol], sets: Sets) -> list[Protocol]:
    """Build the protocols that suit the sets, and those that they need to choose the stage."""
    if sets.numbers:  # what is linear in numbers
        linear = any(protocol.description.name == "linear" for protocol in protocols_named(protocols))
        protocols = [*protocols, *["regression"] * linear]
    suited = [protocol for protocol in protocols_named(protocols) if protocol.suits(sets)]
    names = {protocol.description.name for protocol in suited}
    needed = {name for protocol in suited for name in protocol.description.needs} - names
    return in_row_order(protocols_named([*suited, *sorted(needed)]))


def _by_preference(protocols: Sequence[Protocol]) -> list[str]:
    """Name the protocols whose validation may choose the stage, the preferred first."""
    places = {one.description.name: one.description.preference for one in protocols}
    return sorted((name for name, place in places.items() if place is not None), key=lambda name: places[name] or 0)


def _validation(row: StageRow, preferred: Sequence[str]) -> float | None:
    """Return the figure that chooses the stage, that of the first of the `preferred` protocols which has one."""
    scores = (score for name in preferred if (score := row.score(name)))
    return next((value for score in scores if (value := score.validation) is not None), None)


def _row(stage: str, sets: Sets, protocols: Sequence[Protocol]) -> StageRow:
    parts: dict[str, Part] = {}
    for protocol in protocols:
        own = protocol.description
        score = protocol.measure(stage, sets, rng("cpu", "protocol", own.name, stage))
        parts[own.name] = replace(score, variants={})
        if own.variants and score.variants:
            parts[own.variants] = score.variants
    return StageRow(stage, parts, dims=sets.train.grid[stage].shape[1], chosen=False)


def _points(stage: str, sets: Sets, protocol: Protocol) -> tuple[Point, ...]:
    score = protocol.measure(stage, sets, rng("cpu", "protocol", protocol.description.name, stage))
    return tuple(Point(stage, point) for point in score.points or (score,))
