"""Everything that is asked about one network's features, stage by stage, with nothing chosen on test items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pretext.evaluation.augmented import stacked, views_of
from pretext.evaluation.embed import Embedded
from pretext.evaluation.protocols.low_label import low_label
from pretext.evaluation.protocols.svm import svm
from pretext.evaluation.quality import quality, quality_of_views
from pretext.evaluation.solvers import logistic_regression as linear
from pretext.evaluation.solvers import nearest_neighbours as knn
from pretext.evaluation.statistics.intervals import wilson

Protocol = Literal["linear", "knn", "low_label", "quality", "svm"]
PROTOCOLS: tuple[Protocol, ...] = ("linear", "knn", "low_label", "quality")
"""What is measured unless told otherwise: what takes seconds. A linear SVM takes minutes on a large set."""

EVERY: tuple[Protocol, ...] = (*PROTOCOLS, "svm")

Row = dict[str, Any]


class Measured(NamedTuple):
    """What was found; plain data, ready for JSON."""

    rows: list[Row]
    """One of each stage: {"stage", "dims", "chosen"} and an entry for each protocol."""
    low_label: list[Row]
    """Of the chosen stage: accuracy of a linear probe that is given few labels."""
    items: tuple[int, int]
    """How many items train and test hold."""
    chance: float
    """What knowing nothing gives, see `chance`."""


def measure(
    train: Embedded,
    test: Embedded,
    protocols: Sequence[Protocol] = PROTOCOLS,
    views: Sequence[Embedded] = (),
    device: torch.device | str = "cpu",
) -> Measured:
    """Measure every stage of `train` and `test`, and mark the one that is best on a validation share of train.

    `views` are the training items embedded again, each time augmented anew. They add to what linear probes are fitted
    on, and tell how alike a network finds two views of one item. Sets whose items have several labels, (N, K), are
    measured by linear SVMs and label-free.

    Raises:
        ValueError: no labels, nothing left to measure, or as in `knn`, `linear`, `low_label`, `quality` and `svm`.

    """
    several = train.labels.ndim == 2
    wanted = [name for name in protocols if not several or name in ("svm", "quality")]
    if "low_label" in wanted and "linear" not in wanted:
        wanted.append("linear")  # which chooses the stage
    if len(train.labels) == 0 or not wanted:
        raise ValueError(
            f"measure got {len(train.labels)} labels of shape {tuple(train.labels.shape)} and the protocols "
            f"{list(protocols)}; sets with several labels an item want svm or quality, others labels (N,)"
        )
    if not several:
        first = next(iter(train.mean))
        linear.check(train.mean[first], train.labels, test.mean[first], test.labels)
    rows = [_row(stage, train, test, wanted, views, torch.device(device)) for stage in train.grid]
    best = max(rows, key=lambda row: _validation(row) or 0.0)
    for row in rows:
        row["chosen"] = row is best and _validation(row) is not None
    points = _few(best["stage"], train, test, torch.device(device)) if "low_label" in wanted else []
    return Measured(rows, points, (len(train.labels), len(test.labels)), chance(train.labels, test.labels))


def _validation(row: Row) -> float | None:
    """Return the figure that chooses the stage: the linear probe's on the validation share where there is one."""
    return next((float(row[name]["validation"]) for name in ("linear", "svm", "knn") if name in row), None)


def _row(
    stage: str, train: Embedded, test: Embedded, wanted: Sequence[str], views: Sequence[Embedded], device: torch.device
) -> Row:
    labels, answers = train.labels.to(device), test.labels.to(device)
    mean, seen = train.mean[stage].to(device), test.mean[stage].to(device)
    row: Row = {"stage": stage, "dims": train.grid[stage].shape[1], "chosen": False}
    if "knn" in wanted:
        row["knn"], row["nearest"] = _nearest(mean, labels, seen, answers)
    if "linear" in wanted:
        row["linear"] = _linear(stage, train, test, views, device)
    if "svm" in wanted:
        fitted = svm(train.grid[stage], train.labels, test.grid[stage], test.labels)
        row["svm"] = _plain(fitted)
    if "quality" in wanted:
        row["quality"] = quality(mean) | (quality_of_views(views_of(views, stage).to(device)) if len(views) > 1 else {})
    return row


def _linear(stage: str, train: Embedded, test: Embedded, views: Sequence[Embedded], device: torch.device) -> Row:
    grid = stacked([train, *views], stage) if views else train.grid[stage]
    held = linear.stratified(train.labels).repeat(1 + len(views)).to(device)  # all views of an item on one side
    labels, answers = train.labels.repeat(1 + len(views)).to(device), test.labels.to(device)
    probed = linear.probe(grid.to(device), labels, test.grid[stage].to(device), answers, held=held)
    return score(probed.predictions, answers) | {"l2": probed.l2, "validation": probed.validation}


def _nearest(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> tuple[Row, dict[str, Row]]:
    """Score nearest neighbours, by the k that is best on the validation share of train (of equals, the largest)."""
    held = linear.stratified(labels)
    tried = knn.knn(train[~held], labels[~held], train[held])
    right = {k: int((votes == labels[held]).sum()) for k, votes in tried.items()}
    k = max(tried, key=lambda k: (right[k], k))
    found = {str(k): score(votes, answers) for k, votes in knn.knn(train, labels, test).items()}
    return found[str(k)] | {"k": k, "validation": right[k] / int(held.sum())}, found


def _few(stage: str, train: Embedded, test: Embedded, device: torch.device) -> list[Row]:
    sets = (train.grid[stage], train.labels, test.grid[stage], test.labels)
    grid, labels, seen, answers = (part.to(device) for part in sets)
    return [{"stage": stage, **point._asdict()} for point in low_label(grid, labels, seen, answers)]


def _plain(found: Any) -> Row:
    """Keep of a result what is a plain number, text or list; what is not a number becomes none, as JSON has it."""
    plain = {k: v for k, v in found._asdict().items() if isinstance(v, int | float | str | list | dict)}
    return {k: [None if x != x else x for x in v] if isinstance(v, list) else v for k, v in plain.items()}


def score(predictions: Tensor, answers: Tensor) -> Row:
    """Return the accuracy of predictions (M,) with its 95 % interval."""
    right = int((predictions == answers).sum())
    return {"accuracy": right / len(answers), **wilson(right, len(answers))._asdict()}


def chance(labels: Tensor, answers: Tensor) -> float:
    """Return what knowing nothing gives: accuracy of the most frequent class; of several labels the mean precision.

    `labels` (N,) or (N, K) of train, `answers` likewise of test; the mean average precision of guessing is the share of
    positives, averaged over classes.
    """
    if answers.ndim == 1:
        return float((answers == labels.mode().values).double().mean())
    judged, positive = (answers >= 0).sum(0), (answers > 0).sum(0)
    return float((positive / judged.clamp_min(1))[judged > 0].double().mean())
