"""Learning from labels, and scoring what was learnt: one class an item, or several.

Labels are (N,) where each item has one class, or (N, K) of 1 present, 0 absent, -1 not to be judged.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pretext.core import ranks
from pretext.evaluation.statistics.average_precision import average_precision, mean_average_precision
from pretext.evaluation.statistics.intervals import wilson


class Scored(NamedTuple):
    """How well items are classified."""

    measure: str
    """"accuracy", or "map": mean average precision over the classes."""
    value: float
    low: float
    """Of the 95 % interval, as `high`."""
    high: float
    items: int

    def plain(self) -> dict[str, float]:
        """Name the figures for a file."""
        return {self.measure: self.value, "low": self.low, "high": self.high}


def supervised_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Compare logits (N, K) with labels: cross-entropy (N,), or the mean binary one over what is judged of (N, K).

    `smoothing` moves that share of each answer's weight to all classes alike; of (N, K), to present and absent alike.

    Raises:
        ValueError: labels of another shape.

    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    _check(logits, labels)
    judged = labels >= 0
    target = (labels > 0).to(logits.dtype) * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ranks.total((each * judged).sum()) / ranks.total(judged.sum()).clamp_min(1)


def occurrences(labels: Tensor, classes: int) -> Tensor:
    """Count how often each class is present in labels, (K,)."""
    if labels.ndim == 2:
        return (labels > 0).sum(0)
    counts = torch.zeros(classes, dtype=torch.long, device=labels.device)
    return counts.index_add_(0, labels, torch.ones_like(labels))


def by_index(scores: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Average rows (N, K) that stand next to one another and share their index, such as several clips of one video.

    Returns:
        Scores (items, K) and the labels of each item's first row.

    """
    new = torch.ones_like(index, dtype=torch.bool)
    new[1:] = index[1:] != index[:-1]
    of = new.cumsum(0) - 1
    if len(new) == int(of[-1]) + 1:
        return scores, labels
    sums = scores.new_zeros(int(of[-1]) + 1, scores.shape[1]).index_add_(0, of, scores)
    return sums / of.bincount()[:, None], labels[new]


class Tally:
    """What was said of the items of a split, batch by batch, and what is right."""

    def __init__(self) -> None:
        self._said: list[Tensor] = []
        self._right: list[Tensor] = []

    def add(self, scores: Tensor, labels: Tensor, counts: bool = True) -> None:
        """Take down scores (N, K) and labels; of single labels no more is kept than which class was named.

        Without `counts`, a batch that is there for the sake of another rank, its shape alone.
        """
        if labels.ndim != 1:
            _check(scores, labels)
        scores, labels = (scores, labels) if counts else (scores[:0], labels[:0])
        self._said.append((scores.argmax(1) if labels.ndim == 1 else scores.float()).detach().cpu())
        self._right.append(labels.cpu())

    def scored(self) -> Scored:
        """Score all items of all processes, each process getting the same answer.

        Raises:
            ValueError: there are no items, or as in `mean_average_precision`.

        """
        said, right = _everywhere(self._said), _everywhere(self._right)
        if right.ndim == 1:
            hits = int((said == right).sum())
            return Scored("accuracy", hits / len(right), *wilson(hits, len(right)), len(right))
        precision = mean_average_precision(said, right)
        return Scored("map", precision.value, precision.low, precision.high, len(right))

    def value(self) -> Scored:
        """Score without an interval (NaN), which takes seconds of several labels; of classes that are present alone."""
        said, right = _everywhere(self._said), _everywhere(self._right)
        if right.ndim == 1:
            return self.scored()
        shown = [k for k in range(right.shape[1]) if (right[:, k] > 0).any()]
        each = [average_precision(said[:, k], right[:, k]) for k in shown]
        return Scored("map", sum(each) / max(1, len(each)), float("nan"), float("nan"), len(right))

    def chance(self, counts: Tensor) -> float:
        """Return what is reached without looking: by naming the commonest class of `counts` (K,), those of training.

        Of several labels, by scores that are all equal: the share of present ones, averaged over the classes.
        """
        right = _everywhere(self._right)
        if right.ndim == 1:
            return float((right == counts.argmax().cpu()).double().mean())
        present, judged = (right > 0).sum(0), (right >= 0).sum(0)
        return float((present / judged.clamp_min(1))[judged > 0].double().mean())


def _check(scores: Tensor, labels: Tensor) -> None:
    if labels.shape != scores.shape:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} do not fit scores {tuple(scores.shape)}; they are classes (N,), or "
            "(N, K) of 1 present, 0 absent, -1 not to be judged"
        )


def _everywhere(parts: list[Tensor]) -> Tensor:
    """Join the batches of all processes, in the order in which one process would have them."""
    every = ranks.in_turn(parts)
    if not every:
        raise ValueError("no item was scored; look at the data's split")
    return torch.cat(every)
