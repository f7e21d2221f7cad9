"""What a probe finds, as plain typed data, and its place in probe.json (`evaluation.kept` says in which file)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from pretext.evaluation.flat import flat, frame


class Value(NamedTuple):
    """A number and its own 95 % interval, NaN where it has none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """What a protocol measured of one stage.

    Args:
        figures: in the order of probe.json: metrics, "low" and "high" of the first metric's 95 % interval (or of any,
            such as "centroid_1_low"), "validation" (how good it was where nothing of the test items was seen),
            settings, and whatever else is worth keeping.
        variants: by setting, such as the number of neighbours: the score of every setting that was tried.
        points: of a protocol that is measured once: a score for each point of its curve.

    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Score] = field(default_factory=dict)
    points: tuple[Score, ...] = ()

    def value(self, metric: str) -> Value | None:
        """Return a metric with its interval, or that of the score; None where it was not measured."""
        ends = ("_low", "_high") if f"{metric}_low" in self.figures else ()
        own = tuple(f"{metric}{end}" for end in ends) or ("low", "high")
        number, low, high = (_number(self.figures.get(key)) for key in (metric, *own))
        return None if math.isnan(number) else Value(number, low, high)

    @property
    def validation(self) -> float | None:
        """How good it was on the validation share of train; None where nothing was held out."""
        number = _number(self.figures.get("validation"))
        return None if math.isnan(number) else number

    def to_json(self) -> dict[str, Any]:
        """Return the figures."""
        return dict(self.figures)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Score:
        """Read what `to_json` returned."""
        return cls(dict(plain))


Part = Score | Mapping[str, Score] | None
"""Of a row: a score, scores by setting ("nearest"), or nothing, where it was not measured."""


@dataclass(frozen=True)
class StageRow:
    """What one stage of a network is worth.

    Args:
        stage: its name.
        parts: by the names of the protocols (`Description.name`), and of their variants (`Description.variants`).
        dims: values that it was pooled to.
        chosen: it is the best on a validation share of train.
        features: which network: "trained", "random" or "raw"; None in a cell, which has one network alone.

    """

    stage: str
    parts: Mapping[str, Part] = field(default_factory=dict)
    dims: int | None = None
    chosen: bool | None = None
    features: str | None = None

    def score(self, name: str) -> Score | None:
        """Return the score of a protocol; None where it was not measured."""
        part = self.parts.get(name)
        return part if isinstance(part, Score) else None

    def variants(self, name: str) -> Mapping[str, Score]:
        """Return the scores by setting that stand under a name; none where they were not measured."""
        part = self.parts.get(name)
        return {} if part is None or isinstance(part, Score) else part

    def to_json(self) -> dict[str, Any]:
        """Return a row of probe.json, or of a cell."""
        facts = {"features": self.features, "stage": self.stage, "dims": self.dims, "chosen": self.chosen}
        return _given(facts) | {name: _plain(part) for name, part in self.parts.items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> StageRow:
        """Read what `to_json` returned."""
        facts = {key: plain.get(key) for key in ("stage", "dims", "chosen", "features")}
        parts = {name: _part(value) for name, value in plain.items() if name not in facts}
        return cls(parts=parts, **cast(dict[str, Any], facts))


@dataclass(frozen=True)
class Point:
    """A point of a curve, such as the accuracy with few labels, at the stage that was chosen.

    Args:
        stage: the chosen one.
        score: with the point's name and place (`Description.curve`) among its figures.
        features: as in `StageRow`.

    """

    stage: str
    score: Score
    features: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a point of probe.json, or of a cell."""
        return _given({"features": self.features, "stage": self.stage}) | self.score.to_json()

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Point:
        """Read what `to_json` returned."""
        figures = {key: value for key, value in plain.items() if key not in ("features", "stage")}
        return cls(plain["stage"], Score.from_json(figures), plain.get("features"))


Curves = Mapping[str, tuple[Point, ...]]
"""By the name of a protocol that is measured once ("low_label"): its points."""


FACTS = ("data", "protocol", "seconds", "command", "described", "options", "fingerprints", "listed", "called", "step")
"""What a result holds beside rows and curves."""


@dataclass(frozen=True)
class ProbeResult:
    """What is written to probe.json. Whatever a file of an earlier release lacks is None, or is not in `curves`.

    Args:
        stages: a row for each stage of each network, "rows" in probe.json.
        curves: "low_label", and those of plug-ins.
        data: {"class", "train", "test", "classes"} and, of several networks, "modality".
        protocol: how it was measured, in words by name, and "chance", the accuracy of a blind guess.
        seconds: how long it took.
        command: which made it.
        described: by name, what protocols say of themselves that are not this project's own (`Description.to_json`).
        options: of the data, those that are not its defaults.
        fingerprints: of "train" and "test": equal ones promise equal items.
        listed: of data in files: as `fingerprints`, but by names and labels alone, so alike on every machine; None
            where that is the same.
        called: of data of a user's own: the class of what was given, where that of `data` is only what holds it.
        step: of the checkpoint that was probed; None: it was none of a run, or of an early release.

    """

    stages: tuple[StageRow, ...] = ()
    curves: Curves = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] | None = None
    seconds: float | None = None
    command: str | None = None
    described: Mapping[str, Mapping[str, Any]] | None = None
    options: Mapping[str, Any] | None = None
    fingerprints: Mapping[str, str] | None = None
    listed: Mapping[str, str] | None = None
    called: str | None = None
    step: int | None = None

    @property
    def data_name(self) -> str:
        """What it was measured on, in a word."""
        return self.called or str((self.data or {}).get("class", "the data"))

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat dict for each stage of each network: {"features", "stage", "linear/accuracy", "knn/k", ...}."""
        return [dict(flat(row.to_json())) for row in self.stages]

    def to_pandas(self) -> Any:
        """Return `rows` as a `pandas.DataFrame`.

        Raises:
            ImportError: pandas is not installed.

        """
        return frame(self.rows())

    def to_json(self) -> dict[str, Any]:
        """Return what probe.json holds."""
        last = {key: getattr(self, key) for key in FACTS[2:]}
        return {
            **_given({"data": self.data, "protocol": self.protocol}),
            "rows": [row.to_json() for row in self.stages],
            **curves_to_json(self.curves),
            **_given(last),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ProbeResult:
        """Read what probe.json holds; a file of an earlier release may lack parts."""
        facts = {key: plain.get(key) for key in FACTS}
        rows = tuple(map(StageRow.from_json, plain.get("rows", ())))
        return cls(rows, curves_from_json(plain, {*facts, "rows"}), **cast(dict[str, Any], facts))


def curves_to_json(curves: Curves) -> dict[str, Any]:
    """Return the points of every curve as plain data, by name."""
    return {name: [point.to_json() for point in points] for name, points in curves.items()}


def curves_from_json(plain: Mapping[str, Any], others: set[str]) -> Curves:
    """Read all curves from plain data, which are all its lists but those under the names of `others`."""
    lists = {name: value for name, value in plain.items() if name not in others and isinstance(value, list)}
    return {name: tuple(map(Point.from_json, points)) for name, points in lists.items()}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None."""
    return {key: value for key, value in facts.items() if value is not None}


def _part(value: Any) -> Part:
    """Read a part of a row: scores by setting are a dict of dicts."""
    if value is None:
        return None
    if value and all(isinstance(each, Mapping) for each in value.values()):
        return {name: Score.from_json(each) for name, each in value.items()}
    return Score.from_json(value)


def _plain(part: Part) -> dict[str, Any] | None:
    if part is None:
        return None
    if isinstance(part, Score):
        return part.to_json()
    return {name: score.to_json() for name, score in part.items()}
