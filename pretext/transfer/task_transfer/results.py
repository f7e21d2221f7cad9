"""What was predicted for tasks without labels, as plain typed data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pretext.transfer.affinity import Win, win_rate
from pretext.transfer.task_transfer.vectors import SHARED

SUPERVISED, START = "supervised", "start"
FEW = " + few"
"""Behind the name of a way whose network was fine-tuned with few labels."""
LEARNT = 0.2
"""The largest error of what TTNet was shown that is not told."""


@dataclass(frozen=True)
class Predicted:
    """One task, predicted from others by every way.

    Args:
        target: its name.
        sources: known tasks.
        gamma: what each source is worth to it.
        shared: how far the weights of the sources have a common basis; below `SHARED` they have none.
        left: ways on known tasks that were left out: way, consistency, cosine, loss.
        chosen: the way that did best there.
        losses: of every test photo, by way, one list for each network; none where nobody can judge.
        reuse: of read-outs of a known task from frozen encoders, by way: mean losses.
        reused: which known task that is.
        remembered: the squared error of known networks that TTNet makes of their own encoders; above `LEARNT` it was
            trained too little.
        seconds: how long it took.
        failed: why there is nothing; None where there is.

    """

    target: str
    sources: tuple[str, ...] = ()
    gamma: tuple[float, ...] = ()
    shared: float = math.nan
    left: tuple[tuple[str, float, float, float | None], ...] = ()
    chosen: str = ""
    losses: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    reuse: Mapping[str, float] = field(default_factory=dict)
    reused: str = ""
    remembered: float = math.nan
    seconds: float = 0.0
    failed: str | None = None

    @property
    def warning(self) -> str:
        """Tell that weights have no common basis, and what that costs; empty where they have."""
        if not self.shared < SHARED:
            return ""
        best = max((one[2] for one in self.left), default=math.nan)
        return (
            f"the weights of the sources of {self.target} have no common basis (squared cosines {self.shared:.3f} "
            f"above those of shuffled weights; {SHARED} is wanted), so no mixture of them means anything: of known "
            f"tasks that were left out the best way finds a cosine of {best:.2f} (chance 0). Train all from one start"
        )

    @property
    def unlearnt(self) -> str:
        """Tell that TTNet was trained too little to say anything; empty where it was not."""
        if not self.remembered > LEARNT:
            return ""
        return (
            f"{self.target}: TTNet has not even learnt the networks that it was shown (squared error "
            f"{self.remembered:.2f}; 1 is what knowing nothing costs, {LEARNT} is wanted): raise regression.steps"
        )

    def mean(self, way: str) -> float:
        """Average the losses of a way; NaN where there are none."""
        every = [loss for network in self.losses.get(way, ()) for loss in network]
        return math.fsum(every) / len(every) if every else math.nan

    def win(self, way: str, other: str) -> Win | None:
        """Tell how often a way has the smaller loss on a photo; None where one of both has none."""
        both = [self.losses.get(name) for name in (way, other)]
        return win_rate(both[0], both[1]) if both[0] and both[1] else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        plain = asdict(self)
        plain["left"] = [[*one[:3], None if one[3] is None or math.isnan(one[3]) else one[3]] for one in self.left]
        for name in ("shared", "remembered"):
            plain[name] = None if math.isnan(plain[name]) else plain[name]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Predicted:
        """Read what `to_json` returned."""
        left = tuple((str(w), float(c), float(x), None if y is None else float(y)) for w, c, x, y in plain["left"])
        numbers = {key: math.nan if plain.get(key) is None else plain[key] for key in ("shared", "remembered")}
        tuples = {"sources": tuple(plain["sources"]), "gamma": tuple(plain["gamma"]), "left": left, **numbers}
        return cls(**{**plain, **tuples})


@dataclass(frozen=True)
class Studied:
    """One target, predicted from a drawn set of so many sources.

    Args:
        target: its name.
        sources: which were drawn.
        wins: how often each way beats supervised networks.

    """

    target: str
    sources: tuple[str, ...]
    wins: Mapping[str, float]


@dataclass(frozen=True)
class Predictions:
    """All that a suite gave.

    Args:
        title: of the page.
        targets: finished ones, in the order of the suite.
        planned: how many there shall be.
        study: of numbers of sources.

    """

    title: str
    targets: tuple[Predicted, ...]
    planned: int
    study: tuple[Studied, ...] = ()

    @property
    def done(self) -> list[Predicted]:
        """Targets that did not fail."""
        return [one for one in self.targets if one.failed is None]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        targets = [one.to_json() | {"means": {way: one.mean(way) for way in one.losses}} for one in self.targets]
        return {
            "title": self.title,
            "planned": self.planned,
            "targets": targets,
            "study": [asdict(one) for one in self.study],
        }
