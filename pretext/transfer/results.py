"""What a map of transfers found, as plain typed data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pretext.transfer.tables import Transfer


@dataclass(frozen=True)
class Measured:
    """One transfer, measured.

    Args:
        sources: one or several.
        target: its name.
        losses: of every test item, one list for each seed of the read-out.
        seconds: how long it took.
        failed: why there are no losses; None where there are.
        scores: that took no training, of one source and a target of classes: `evaluation.transferability`.

    """

    sources: tuple[str, ...]
    target: str
    losses: tuple[tuple[float, ...], ...] = ()
    seconds: float = 0.0
    failed: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean loss over items and seeds; NaN where it failed."""
        every = [loss for seed in self.losses for loss in seed]
        return math.fsum(every) / len(every) if every else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Measured:
        """Read what `to_json` returned."""
        losses = tuple(tuple(seed) for seed in plain["losses"])
        return cls(tuple(plain["sources"]), plain["target"], losses, plain["seconds"], plain["failed"], plain["scores"])


@dataclass(frozen=True)
class Entry:
    """A transfer as it stands in a map.

    Args:
        sources: one or several.
        target: its name.
        affinity: its share of the target's tournament; NaN: nothing is known.
        predicted: the affinity is predicted, with the interval `low` to `high`; nothing else is known.
        loss: mean over items and seeds.
        win: share of test items on which it beats `self`, with a 95 % interval.

    """

    sources: tuple[str, ...]
    target: str
    affinity: float
    predicted: bool = False
    low: float = math.nan
    high: float = math.nan
    loss: float = math.nan
    win: float = math.nan
    win_low: float = math.nan
    win_high: float = math.nan

    @property
    def transfer(self) -> Transfer:
        """As a row of a table."""
        return Transfer(self.sources, self.target, self.affinity)


@dataclass(frozen=True)
class Ranking:
    """How a score without training ranks the sources of a target, against their affinities.

    Args:
        target: its name.
        score: "log_me", "h_score", "leep" or "nce".
        sources: how many were ranked, `random` among them and `self` not.
        spearman: with its 95 % interval `low` to `high`; NaN where undefined.
        kendall: likewise.
        regret: 1 - affinity of the source that the score names over that of the best.

    """

    target: str
    score: str
    sources: int
    spearman: float
    low: float
    high: float
    kendall: float
    regret: float


@dataclass(frozen=True)
class Choice:
    """The best sources of one budget.

    Args:
        budget: how many sources.
        sources: to train.
        serving: by target the sources that serve it, joined by a bar.
        value: sum of affinities.
        over_single: by how much that is more than the best single source's.
        over_self: mean over targets of the share of test items on which the chosen transfer beats `self`.
        predicted: some of the chosen transfers are predicted only.

    """

    budget: int
    sources: tuple[str, ...]
    serving: Mapping[str, str]
    value: float
    over_single: float
    over_self: float
    predicted: bool


@dataclass(frozen=True)
class Merge:
    """Two groups of sources that behave alike, joined at a distance."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    distance: float


@dataclass(frozen=True)
class TransferMap:
    """A whole map.

    Args:
        title: of the page.
        sources: names, with `random` and `self`, in the order of the suite.
        targets: names.
        entries: of all orders, measured or predicted.
        choices: for each budget from 1 to that beyond which nothing helps; none where a target is served by nothing.
        tree: of similar sources, the nearest first; empty with fewer than three.
        rankings: of scores without training, by target of classes.
        failed: why transfers are missing, by "sources to target".
        planned: how many transfers there shall be; those of order 2 as far as they are known.
        consistency: of each target's tournament.

    """

    title: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    entries: tuple[Entry, ...] = ()
    choices: tuple[Choice, ...] = ()
    tree: tuple[Merge, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    planned: int = 0
    consistency: Mapping[str, float] = field(default_factory=dict)

    def entry(self, sources: tuple[str, ...], target: str) -> Entry | None:
        """Find an entry."""
        return next((e for e in self.entries if e.sources == sources and e.target == target), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; what is not known (NaN) is None."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return value
