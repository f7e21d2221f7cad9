"""Does a network beat what it is compared with? Said from numbers, each protocol at the stage that it chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pretext.evaluation.measured import Measured, preferred
from pretext.evaluation.results import ProbeResult, StageRow, Value
from pretext.evaluation.statistics.ranking import Figure

Outcome = Literal["beats", "does not beat", "cannot be told from"]
AGAINST = ("random", "raw")
"""What a trained network is compared with, the first one first."""


class Placed(NamedTuple):
    """A network's score at the stage that the protocol's own validation chose."""

    features: str
    stage: str
    value: Value


class Comparison(NamedTuple):
    """A trained network beside another one, by one metric."""

    measured: Measured
    trained: Placed
    other: Placed

    @property
    def outcome(self) -> Outcome:
        """What the two 95 % intervals allow to say."""
        return outcome(self.trained.value, self.other.value, self.measured.metric.better == "smaller")

    @property
    def difference(self) -> float:
        """How much better the trained network is; negative where it is worse."""
        sign = -1 if self.measured.metric.better == "smaller" else 1
        return sign * (self.trained.value.value - self.other.value.value)


def outcome(own: Value | Figure, other: Value | Figure, smaller: bool = False) -> Outcome:
    """Say whether one value beats another: where their 95 % intervals overlap, or are not known, nobody can tell.

    `smaller`: whether smaller values are better.
    """
    above, below = own.low > other.high, own.high < other.low
    better, worse = (below, above) if smaller else (above, below)
    return "beats" if better else "does not beat" if worse else "cannot be told from"


def verdict(result: ProbeResult) -> list[Comparison]:
    """Compare the trained network with each other one, by each headline, the preferred one first."""
    compared = []
    for one in preferred(result):
        rows = {kind: best_row(result.stages, kind, one) for kind in ("trained", *AGAINST)}
        found = {kind: _placed(kind, row, one) for kind, row in rows.items() if row}
        trained = found.pop("trained", None)
        if trained and one.metric.better != "neither":
            compared += [Comparison(one, trained, other) for other in found.values()]
    return compared


def best_row(rows: Sequence[StageRow], features: str | None, one: Measured) -> StageRow | None:
    """Find the stage that a protocol's own validation chose; where it has none, that which was chosen for all."""
    own = [row for row in rows if row.features == features and one.of(row)]
    judged = [
        (value, row)
        for row in own
        if (score := row.score(one.protocol.name)) and (value := score.validation) is not None
    ]
    if judged:
        return max(judged, key=lambda pair: pair[0])[1]
    return next((row for row in own if row.chosen), None)


def _placed(kind: str, row: StageRow, one: Measured) -> Placed:
    value = one.of(row)
    assert value is not None  # rows without a value are not chosen
    return Placed(kind, row.stage, value)


def bounded(value: Value | Figure) -> bool:
    """Tell whether a value has an interval."""
    return not math.isnan(value.low + value.high)
