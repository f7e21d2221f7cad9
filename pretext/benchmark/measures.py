"""What a board ranks by, and what else was measured: a metric of a protocol each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pretext.benchmark.results import Board
from pretext.evaluation.protocol import Description, Metric
from pretext.evaluation.results import StageRow, Value


@dataclass(frozen=True)
class Measure:
    """A metric of a protocol: what a board ranks by, or a column beside that.

    Args:
        protocol: whose.
        metric: which.
        headline: it is the one that stands for the protocol, and has the interval of the score.
        setting: of one of the protocol's variants, such as "20" neighbours.

    """

    protocol: Description
    metric: Metric
    headline: bool = True
    setting: str = ""

    @property
    def key(self) -> str:
        """Its name among an entry's scores, such as "knn", "nearest/20" or "quality/rankme"."""
        if self.setting:
            return f"{self.protocol.variants}/{self.setting}"
        return self.protocol.name if self.headline else f"{self.protocol.name}/{self.metric.key}"

    @property
    def title(self) -> str:
        """Words for it, such as "Linear SVM, mean average precision" or "kNN, k = 20"."""
        if self.protocol.apart:
            return self.metric.title
        setting = next(iter(self.protocol.settings.values()), "setting")
        words = [self.protocol.title, self.metric.title if self.metric.short or not self.headline else ""]
        return ", ".join(filter(None, [*words, f"{setting} = {self.setting}" if self.setting else ""]))

    def of(self, row: StageRow) -> Value | None:
        """Read what a row says of it: a value and its own interval; None where it was not measured."""
        score = row.score(self.protocol.name)
        if self.setting:
            score = row.variants(self.protocol.variants).get(self.setting)
        value = None if score is None else score.value(self.metric.key)
        return value if value is None or self.headline else Value(value.value, math.nan, math.nan)


def ranked_by(board: Board) -> Measure:
    """Choose what a board ranks by: the first that any chosen stage has, protocols in the order of their preference."""
    every = [measure for row in _chosen(board) for measure in _headlines(row, board.descriptions)]
    if every:
        return min(every, key=lambda measure: measure.protocol.preference or 0)
    first = min(_ranking(board.descriptions), key=lambda own: own.preference or 0)
    return Measure(first, first.metrics[0])


def measures(board: Board) -> dict[str, Measure]:
    """Return by key everything that was measured of the chosen stages but what the board ranks by, as columns come."""
    main = ranked_by(board).key
    every = [measure for row in _chosen(board) for measure in measures_of(row, board.descriptions)]
    return {measure.key: measure for measure in every if measure.key != main}


def measures_of(row: StageRow, descriptions: Sequence[Description]) -> list[Measure]:
    """List what a row has: headlines in the order of preference, the variants of each, and then everything else."""
    headlines = _headlines(row, descriptions)
    variants = [
        Measure(own, metric, setting=setting)
        for own in descriptions
        for setting, score in (row.variants(own.variants).items() if own.variants else ())
        if (metric := own.metric_of(score))
    ]
    named = {measure.key for measure in headlines}
    others = [measure for own in descriptions for measure in _others(row, own) if measure.key not in named]
    return [*headlines, *variants, *others]


def _chosen(board: Board) -> list[StageRow]:
    return [row for cell in board.cells if (row := cell.chosen)]


def _ranking(descriptions: Sequence[Description]) -> list[Description]:
    return [own for own in descriptions if own.preference is not None]


def _headlines(row: StageRow, descriptions: Sequence[Description]) -> list[Measure]:
    """List what a board may be ranked by, the preferred first."""
    ranking = sorted(_ranking(descriptions), key=lambda own: own.preference or 0)
    scores = ((own, row.score(own.name)) for own in ranking)
    return [Measure(own, metric) for own, score in scores if score and (metric := own.metric_of(score))]


def _others(row: StageRow, own: Description) -> list[Measure]:
    """List every metric of a protocol that a row has; the first is the headline, unless they stand apart."""
    score = row.score(own.name)
    there = [metric for metric in own.metrics if score and score.value(metric.key)]
    return [Measure(own, metric, headline=not own.apart and place == 0) for place, metric in enumerate(there)]
