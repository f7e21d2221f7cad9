"""What a comparison has shown: scores of architectures, correlations of every pair of measures, efficiency curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from pretext.evaluation.statistics.correlation import Correlation, spearman
from pretext.evaluation.statistics.efficiency import Experiment, efficiency_curve
from pretext.evaluation.statistics.intervals import Interval
from pretext.evaluation.statistics.ranks import bootstrap

ELSEWHERE = " on second data"
"""Stands behind the name of a measure that is taken on a second set of data."""


@dataclass(frozen=True)
class Architecture:
    """A drawn architecture and what came of it.

    Args:
        name: its number, or its name in a file of results.
        choice: what was chosen, by name.
        scores: mean over seeds by measure, of those that are done; larger is better.
        state: "done" where every measure is, "failed" where one failed, else "waiting".
        parameters: of the backbone; none: not known.
        multiply_adds: of the backbone, for one picture.
        reason: why it failed.

    """

    name: str
    choice: Mapping[str, Any]
    scores: Mapping[str, float]
    state: str = "done"
    parameters: int | None = None
    multiply_adds: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """The rank correlation of two measures over the architectures that have all of them.

    Args:
        first: name of the one.
        second: name of the other.
        rank: Spearman's rho with its p-value.
        interval: 95 % by the bootstrap over architectures.

    """

    first: str
    second: str
    rank: Correlation
    interval: Interval

    @property
    def across(self) -> bool:
        """Whether the two are taken on two sets of data."""
        return _set_of(self.first) != _set_of(self.second)


@dataclass(frozen=True)
class Compared:
    """All that a page says of a comparison.

    Args:
        measures: names, the reference last.
        architectures: all, in the order of their numbers.
        pairs: of measures.
        curves: for each proxy, how good the best of m by it is by the reference.
        taken: for each measure, the architecture that it would take.
        controls: what the size of a network says without any training: its parameters and its multiply-adds against the
            reference, where they are known of all.

    """

    measures: Sequence[str]
    architectures: Sequence[Architecture]
    pairs: Sequence[Pair] = field(default_factory=list)
    curves: Mapping[str, Sequence[Experiment]] = field(default_factory=dict)
    taken: Mapping[str, Architecture] = field(default_factory=dict)
    controls: Sequence[Pair] = field(default_factory=list)

    @property
    def reference(self) -> str:
        """The measure that the others are compared with."""
        return self.measures[-1]

    @property
    def complete(self) -> list[Architecture]:
        """Those that have every measure: only they are compared."""
        return [one for one in self.architectures if one.state == "done"]

    @property
    def failed(self) -> list[Architecture]:
        """Those that were dropped from all measures because one failed."""
        return [one for one in self.architectures if one.state == "failed"]

    def pair(self, first: str, second: str) -> Pair:
        """Find the correlation of two measures, in either order."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {first, second})


def compared(measures: Sequence[str], architectures: Sequence[Architecture]) -> Compared:
    """Compare the architectures that have every measure; the last of `measures` is the reference."""
    plain = Compared(measures, architectures)
    columns = {name: [one.scores[name] for one in plain.complete] for name in measures}
    pairs = [_pair(a, b, columns) for a, b in combinations(measures, 2)]
    if not plain.complete:
        return Compared(measures, architectures, pairs)
    reference = columns[plain.reference]
    curves = {name: efficiency_curve(columns[name], reference) for name in measures}
    taken = {name: max(plain.complete, key=lambda one: one.scores[name]) for name in measures}  # used at once
    return Compared(measures, architectures, pairs, curves, taken, _controls(plain))


def _set_of(measure: str) -> str:
    """Tell the sets of data of measures apart: the second one, or in the authors' files the folder of a task."""
    return ELSEWHERE if measure.endswith(ELSEWHERE) else measure.rpartition("/")[0]


def _controls(plain: Compared) -> list[Pair]:
    """Compare the sizes of networks with the reference."""
    reference = [one.scores[plain.reference] for one in plain.complete]
    sizes = {
        "parameters": [one.parameters for one in plain.complete],
        "multiply-adds": [one.multiply_adds for one in plain.complete],
    }
    known = {name: [float(v) for v in values if v is not None] for name, values in sizes.items()}
    return [
        _pair(name, plain.reference, {name: values, plain.reference: reference})
        for name, values in known.items()
        if len(values) == len(reference)
    ]


def _pair(first: str, second: str, columns: Mapping[str, Sequence[float]]) -> Pair:
    x, y = columns[first], columns[second]
    return Pair(first, second, spearman(zip(x, y, strict=True)), bootstrap(x, y))
