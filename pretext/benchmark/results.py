"""What a leaderboard is made of: boards of cells, a cell being one entry with one seed, with a row for each stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pretext.evaluation.available import descriptions
from pretext.evaluation.protocol import Description, Metric
from pretext.evaluation.results import Curves, StageRow, Value, curves_from_json, curves_to_json

KINDS = {"trained": "", "random": "random initialisation", "raw": "raw input", "supervised": "trained with labels"}
OPTIONAL = ("entry", "data", "protocol", "architecture", "described", "compared")


@dataclass(frozen=True)
class CellResult:
    """What came of one entry with one seed on one board.

    Args:
        kind: a key of `KINDS`.
        seed: of the training; of a baseline its number.
        entry: its name; None in the file of a baseline, which belongs to several entries.
        rows: a row for each stage; none where it failed.
        curves: "low_label", and those of plug-ins.
        pretext: {"skill": 0.31, "scores": {"turn/accuracy": 0.64}, "chance": {"turn/accuracy": 0.25}}.
        seconds: {"train": 212.0, "probe": 14.0}.
        command: which trained it.
        failed: why there are no rows.
        data: as in `ProbeResult`, as are `protocol` and `described`.
        protocol: see there.
        architecture: of a baseline: what it has in common with the networks that it is compared with.
        described: see there.
        compared: of an entry: the files of its baselines.

    """

    kind: str
    seed: int
    entry: str | None = None
    rows: tuple[StageRow, ...] = ()
    curves: Curves = field(default_factory=dict)
    pretext: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] | None = None
    command: str | None = None
    failed: str | None = None
    data: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] | None = None
    architecture: str | None = None
    described: Mapping[str, Mapping[str, Any]] | None = None
    compared: tuple[str, ...] | None = None

    @property
    def finished(self) -> bool:
        """Whether it has figures."""
        return not self.failed and bool(self.rows)

    @property
    def reason(self) -> str:
        """Why it failed, in one line."""
        return " ".join((self.failed or "").split())

    @property
    def chosen(self) -> StageRow | None:
        """The row that was chosen on validation; the only one there is was not chosen, but leaves no choice."""
        rows = self.rows if self.finished else ()
        return next((row for row in rows if row.chosen or len(rows) == 1), None)

    def to_json(self) -> dict[str, Any]:
        """Return what the file of a cell holds."""
        facts = {
            key: getattr(self, key) for key in ("entry", "kind", "seed", "pretext", "seconds", "command", "failed")
        }
        facts |= {key: getattr(self, key) for key in OPTIONAL}
        given = {key: value for key, value in facts.items() if value is not None or key not in OPTIONAL}
        if self.compared is not None:
            given["compared"] = list(self.compared)
        return {**given, "rows": [row.to_json() for row in self.rows], **curves_to_json(self.curves)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> CellResult:
        """Read what the file of a cell holds; what was not measured may be missing."""
        facts = {key: plain.get(key) for key in cls.__dataclass_fields__ if key not in ("rows", "curves", "compared")}
        rows = tuple(map(StageRow.from_json, plain.get("rows") or ()))
        compared = plain.get("compared")
        return cls(
            rows=rows,
            curves=curves_from_json(plain, {*facts, "rows", "compared"}),
            compared=None if compared is None else tuple(compared),
            **cast(dict[str, Any], facts),
        )


@dataclass(frozen=True)
class Board:
    """All cells on one set of data.

    Args:
        name: of the board.
        data: as in `ProbeResult`, as is `protocol`; empty while nothing is finished.
        protocol: see there.
        planned: how many cells there will be.
        cells: those that are finished or have failed.

    """

    name: str
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]
    planned: int
    cells: tuple[CellResult, ...]

    @property
    def descriptions(self) -> tuple[Description, ...]:
        """What the protocols say of themselves whose scores may be among the cells."""
        return descriptions({name: plain for cell in self.cells for name, plain in (cell.described or {}).items()})

    @property
    def status(self) -> str:
        """How much of it there is: "31 of 33 cells; failed: jigsaw, seed 2 (diverged)"."""
        done, failed = sum(cell.finished for cell in self.cells), [cell for cell in self.cells if cell.failed]
        parts = [f"{done} of {max(self.planned, len(self.cells))} cells"]
        if failed:
            parts.append("failed: " + ", ".join(f"{cell.entry}, seed {cell.seed} ({cell.reason})" for cell in failed))
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        facts = {"name": self.name, "data": self.data, "protocol": self.protocol, "planned": self.planned}
        return {**facts, "cells": [cell.to_json() for cell in self.cells]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Board:
        """Read what `to_json` returned."""
        cells = tuple(map(CellResult.from_json, plain["cells"]))
        return cls(plain["name"], plain["data"], plain["protocol"], plain["planned"], cells)


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
