"""What a probe measured, metric by metric, as far as some row has it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pretext.evaluation.available import descriptions
from pretext.evaluation.protocol import Curve, Description, Metric
from pretext.evaluation.results import Point, ProbeResult, Score, StageRow, Value


class Measured(NamedTuple):
    """A metric that some row has, with the protocol that measured it."""

    protocol: Description
    metric: Metric

    @property
    def title(self) -> str:
        """Such as "Linear probe, accuracy in %"."""
        unit = f" in {self.metric.unit}" if self.metric.unit else ""
        return f"{self.protocol.title}, {self.metric.title}{unit}"

    def value(self, score: Score | None) -> Value | None:
        """Read it, without an interval where the metric has none."""
        value = score.value(self.metric.key) if score else None
        return value._replace(low=math.nan, high=math.nan) if value and not self.metric.interval else value

    def of(self, row: StageRow) -> Value | None:
        """Read it from a row."""
        return self.value(row.score(self.protocol.name))


def measured(result: ProbeResult, apart: bool = False) -> list[Measured]:
    """List what was measured at every stage: the headlines, or what stands `apart`."""
    every = (Measured(d, metric) for d in descriptions(result.described) for metric in d.metrics if d.apart == apart)
    return [one for one in every if any(one.of(row) for row in result.stages)]


def preferred(result: ProbeResult) -> list[Measured]:
    """List the headlines, the preferred first; what no leaderboard ranks by comes last."""
    return sorted(measured(result), key=lambda one: one.protocol.preference or math.inf)


def curves(result: ProbeResult) -> Iterator[tuple[Measured, Curve, Sequence[Point]]]:
    """List what was measured along a curve, at the chosen stage."""
    for protocol in descriptions(result.described):
        if protocol.curve and (points := result.curves.get(protocol.name)):
            metric = protocol.metric_of(points[0].score) or protocol.metrics[0]
            yield Measured(protocol, metric), protocol.curve, points
