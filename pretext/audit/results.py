"""What an audit found: scores with intervals, the share of the intact score that each control has, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import hypot
from typing import Any

from pretext.evaluation.statistics.intervals import Interval, ratio

HALF, SOME = 0.5, 0.1
"""Shares of the intact score. A word is said where it is true of the whole interval: "answers it" where all of the
interval is at least a half, "answers part of it" where all of it is at least a tenth, "no" where all of it is less than
a tenth, else "unclear"."""
MUCH = 0.25
"""Share of what is shown from which on a control keeps so much content that it is not accused of answering."""
ROUNDING = 1e-6  # by which equal scores of all batches, whose interval has no width, may miss the blind guess's
ANSWERS, PART, UNCLEAR, NO, BEYOND, UNLEARNT, KEEPS = (
    "answers it", "answers part of it", "unclear", "no", "beyond chance", "nothing learnt", "keeps content"
)  # fmt: skip
ACCUSED = (ANSWERS, PART, BEYOND)


@dataclass(frozen=True)
class Score:
    """A score on held-out items, with its interval; those of all rows of a task hold together, in 95 % of audits."""

    value: float
    low: float
    high: float

    def over(self, chance: float) -> tuple[float, Interval]:
        """Return it and its interval, less that of a blind guess."""
        return self.value - chance, Interval(self.low - chance, self.high - chance)


@dataclass(frozen=True)
class Share:
    """What a control has of the intact score, both beyond a blind guess, with an interval of the same confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Finding:
    """What came of one control.

    Args:
        name: of the control, as are `letter` and `title`.
        letter: see there.
        title: see there.
        score: none where it could not be asked, or failed.
        share: none where the intact task is not clearly above chance.
        verdict: one of this module's words, or "" where there is a note.
        advice: what to change, where it is accused.
        note: why there is no score, or no verdict on it.
        seconds: that it took.
        against: what `score` is compared with instead of the intact one, where the trained network is but scored anew.
        beside: score of what keeps content as it does, without the trace; `share` is then what it has beyond that.
        kept: share of what is shown that it keeps, where that depends on the task.

    """

    name: str
    letter: str
    title: str
    score: Score | None = None
    share: Share | None = None
    verdict: str = ""
    advice: str = ""
    note: str = ""
    seconds: float = 0.0
    against: Score | None = None
    beside: Score | None = None
    kept: float | None = None

    @property
    def accused(self) -> bool:
        """Whether it answers the task, or part of it."""
        return self.verdict in ACCUSED


@dataclass(frozen=True)
class TaskAudit:
    """What was found of one task.

    Args:
        task: its name.
        kind: its class.
        metric: "accuracy", "balanced_accuracy", "ranking" or "loss removed": the share of a blind guess's loss.
        chance: the score of a blind guess.
        intact: the score of the task as it is; none where that failed.
        findings: of the controls.
        items: held-out items that were scored.
        trained: items that were trained on.
        note: why there is no score.

    """

    task: str
    kind: str
    metric: str
    chance: float
    intact: Score | None
    findings: tuple[Finding, ...] = field(default=())
    items: int = 0
    trained: int = 0
    note: str = ""

    @property
    def learnt(self) -> bool:
        """Whether the intact task is clearly above chance."""
        return self.intact is not None and self.intact.low > self.chance

    @property
    def worst(self) -> Finding | None:
        """The accused control that has most of the intact score."""
        accused = [one for one in self.findings if one.accused]
        return max(accused, key=lambda one: one.share.value if one.share else -1.0, default=None)

    @property
    def verdict(self) -> str:
        """Say it in a sentence."""
        if self.intact is None:
            return f"not audited: {self.note}"
        if self.worst is not None:
            return self._accusation(self.worst)
        if not self.learnt:
            return "the intact task is not learnt in this budget: nothing can be said; raise --budget"
        asked = [one for one in self.findings if one.share and one.verdict != KEEPS]
        most = max(asked, key=lambda one: _high(one), default=None)
        if most is None:
            return "no control could be asked"
        if most.verdict == UNCLEAR:
            return (
                f"unclear: up to {_high(most):.0%} by {most.title}; more held-out items or a larger --budget would tell"
            )
        return f"nothing here answers it: at most {max(0.0, _high(most)):.0%} ({most.title})"

    def _accusation(self, worst: Finding) -> str:
        if worst.share is None:
            return f"{worst.title}: beyond chance, though the intact task is not learnt; {worst.advice}"
        how = "answers most of it" if worst.verdict == ANSWERS else "answers part of it"
        share = f"{worst.share.value:.0%} ({worst.share.low:.0%} to {worst.share.high:.0%}) of the intact score"
        beyond = " beyond content further in" if worst.beside else ""
        return f"{worst.title}: {how}, {share}{beyond}; {worst.advice}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "findings": [asdict(one) for one in self.findings], "verdict": self.verdict}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TaskAudit:
        """Read what `to_json` returned."""
        kinds = {"score": Score, "against": Score, "beside": Score, "share": Share}
        read = [{**one, **{key: _read(kind, one.get(key)) for key, kind in kinds.items()}} for one in plain["findings"]]
        findings = tuple(Finding(**one) for one in read)
        rest = {key: value for key, value in plain.items() if key not in ("verdict", "findings", "intact")}
        return cls(intact=_read(Score, plain["intact"]), findings=findings, **rest)


def _read(kind: type[Any], plain: Mapping[str, Any] | None) -> Any:
    return None if plain is None else kind(**plain)


def _high(finding: Finding) -> float:
    return finding.share.high if finding.share else 0.0


def share_of(score: Score, intact: Score, chance: float) -> Share | None:
    """Divide what a control scores beyond chance by what the intact task does; none where that is not clearly above."""
    (one, of_one), (two, of_two) = score.over(chance), intact.over(chance)
    bounds = ratio(one, of_one, two, of_two)
    return None if bounds is None else Share(one / two, *bounds)


def excess_share(score: Score, beside: Score, intact: Score, chance: float) -> Share | None:
    """Divide what a control scores beyond another by what the intact task does beyond chance.

    The interval of the difference is MOVER's of independent scores; of scores on the same items it is too wide.
    """
    value, (two, of_two) = score.value - beside.value, intact.over(chance)
    low = value - hypot(score.value - score.low, beside.high - beside.value)
    high = value + hypot(score.high - score.value, beside.value - beside.low)
    bounds = ratio(value, Interval(low, high), two, of_two)
    return None if bounds is None else Share(value / two, *bounds)


def lost_share(score: Score, against: Score, chance: float) -> Share | None:
    """Say what share of one score of the trained network is lost in another."""
    kept = share_of(score, against, chance)
    return None if kept is None else Share(1 - kept.value, 1 - kept.high, 1 - kept.low)


def judged(share: Share | None, score: Score, chance: float, kept: float | None = None) -> str:
    """Choose the word for a control; `kept` is the share of what is shown that it keeps, where that may be much."""
    word = _word(share, score, chance)
    return KEEPS if word in ACCUSED and kept is not None and kept > MUCH else word


def _word(share: Share | None, score: Score, chance: float) -> str:
    if share is None:
        return BEYOND if score.low > chance + ROUNDING else UNLEARNT
    if share.low >= HALF:
        return ANSWERS
    if share.low >= SOME:
        return PART
    return UNCLEAR if share.high >= SOME else NO
