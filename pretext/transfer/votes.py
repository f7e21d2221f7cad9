"""https://doi.org/10.2307/2346806 (Dawid and Skene, Applied Statistics 1979): what is true, if raters disagree?

Each rater has a matrix of its own: how often it answers l where j is true. These matrices, the shares of the labels and
what is true of each item are found together, by expectation maximisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from pretext.core.errors import require
from pretext.transfer.answers import rows

COLUMNS = ("item", "rater", "answer")
STARTS = 1
STEPS = 10_000
"""Of one start, at most."""
TOLERANCE = 1e-12
"""Of the likelihood, as a share of it: where a step gains less, it has converged."""
SPREAD = 0.5
"""How much of a random start is chance; the rest are shares of votes."""
Array = NDArray[np.float64]


class Votes(NamedTuple):
    """How often each rater gave each answer to each item."""

    items: tuple[str, ...]
    raters: tuple[str, ...]
    labels: tuple[str, ...]
    counts: Array
    """(I, K, L); a rater may answer several times, or not at all"""


class Truth(NamedTuple):
    """What Dawid and Skene's model makes of votes."""

    votes: Votes
    chances: Array
    """(I, L): how likely each label is of each item"""
    shares: Array
    """(L,): how frequent each label is"""
    confusion: Array
    """(K, L, L): of each rater, in row j and column l how often it answers l where j is true; NaN: j was never met"""
    likelihood: float
    """The logarithm of what all votes are worth"""
    history: tuple[float, ...]
    """The same after each step of the start that was taken; it never falls"""

    @property
    def chosen(self) -> tuple[str, ...]:
        """Name the likeliest label of each item."""
        return tuple(self.votes.labels[k] for k in self.chances.argmax(1).tolist())


def read_votes(file: str | Path, labels: Sequence[str] = ()) -> Votes:
    """Read `item,rater,answer` with a heading, perhaps a fourth column `count`.

    Args:
        file: CSV.
        labels: all that an answer may be, in order; none: what was answered, sorted (numbers as numbers).

    Raises:
        ValueError: another heading, a row that cannot be read, an answer that is none of `labels`; the line is named.
            As `votes_of`.
        OSError: the file cannot be read.

    """
    found: list[tuple[str, str, str, float]] = []
    for where, (item, rater, answer), count in rows(file, COLUMNS):
        if labels and answer not in labels:
            raise ValueError(f"{where}: {answer!r} is none of the labels {', '.join(labels)}")
        found.append((item, rater, answer, count))
    return votes_of(found, labels)


def votes_of(answers: Iterable[tuple[str, str, str, float]], labels: Sequence[str] = ()) -> Votes:
    """Count answers (item, rater, answer, how often).

    Raises:
        ValueError: an answer that is none of `labels`; fewer than two raters or labels; raters who share no item.

    """
    every = list(answers)
    require(bool(every), "votes", "no answer", "give rows of item,rater,answer")
    items, raters = tuple(dict.fromkeys(one[0] for one in every)), tuple(dict.fromkeys(one[1] for one in every))
    named = tuple(labels) or tuple(sorted({one[2] for one in every}, key=_order))
    strange = sorted({one[2] for one in every} - set(named))
    require(not strange, "votes", f"{', '.join(strange)} is no label", f"the labels are {', '.join(named)}")
    advice = "with one opinion of each item nothing tells who is right"
    require(len(raters) > 1, "votes", f"{len(raters)} rater{'s' * (len(raters) != 1)}", f"it wants two; {advice}")
    require(len(named) > 1, "votes", f"all answers are {named[0]!r}", "it wants two labels or more")
    counts = np.zeros((len(items), len(raters), len(named)))
    places = [{name: k for k, name in enumerate(names)} for names in (items, raters, named)]
    for item, rater, answer, count in every:
        counts[places[0][item], places[1][rater], places[2][answer]] += count
    votes = Votes(items, raters, named, counts)
    groups = connected(votes)
    apart = "; ".join(", ".join(group) for group in groups)
    wanted = "nothing compares them: ask some of them about the same items, or give a file for each group"
    require(len(groups) == 1, "votes", f"{len(groups)} groups of raters share no item ({apart})", wanted)
    return votes


def connected(votes: Votes) -> list[tuple[str, ...]]:
    """Group raters: two are in one group if they answered about one item, or a chain of such raters leads there."""
    said = votes.counts.sum(2) > 0
    left, groups = list(range(len(votes.raters))), []
    while left:
        group, fresh = {left[0]}, {left[0]}
        while fresh:
            items = said[:, sorted(fresh)].any(1)
            fresh = set(np.flatnonzero(said[items].any(0)).tolist()) - group
            group |= fresh
        groups.append(tuple(votes.raters[k] for k in sorted(group)))
        left = [k for k in left if k not in group]
    return groups


def dawid_skene(votes: Votes, starts: int = STARTS, seed: int = 0) -> Truth:
    """Find what is true of each item, and each rater's matrix.

    The first start are shares of votes, as in the paper: right where most raters are better than chance. Further ones
    mix these with chance, and are taken where their likelihood is larger; with few items such a maximum may fit chance
    only. Labels are then named so that raters agree with them as often as they can, since the model itself does not
    know which of its labels is which.

    Raises:
        ValueError: no start.

    """
    require(starts >= 1, "dawid_skene", f"{starts=}", "give 1 or more")
    draw = np.random.default_rng(seed)
    said = votes.counts.sum(1)
    shares = said / said.sum(1, keepdims=True)
    best: Truth | None = None
    for start in range(starts):
        noise = draw.dirichlet(np.ones(len(votes.labels)), len(votes.items))
        found = _climb(votes, shares if start == 0 else (1 - SPREAD) * shares + SPREAD * noise)
        if best is None or found.likelihood > best.likelihood + 1e-6 * abs(best.likelihood):
            best = found
    assert best is not None
    return _named(best)


def _climb(votes: Votes, chances: Array) -> Truth:
    """Maximise and expect in turn until nothing is gained."""
    history: list[float] = []
    for _ in range(STEPS):
        shares, confusion = _maximised(votes, chances)
        joint = _log_joint(votes, shares, confusion)
        whole = logsumexp(joint, axis=1, keepdims=True)
        chances = np.exp(joint - whole)
        history.append(float(whole.sum()))
        if len(history) > 1 and history[-1] - history[-2] <= TOLERANCE * abs(history[-1]):
            break
    return Truth(votes, chances, shares, confusion, history[-1], tuple(history))


def _maximised(votes: Votes, chances: Array) -> tuple[Array, Array]:
    """Find the shares (L,) and matrices (K, L, L) that fit chances (I, L) best."""
    met = np.einsum("ij,ikl->kjl", chances, votes.counts)
    total = met.sum(2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return chances.mean(0), np.where(total > 0, met / total, np.nan)


def _log_joint(votes: Votes, shares: Array, confusion: Array) -> Array:
    """Take the logarithm of each label's share times what all votes are worth if it is true: (I, L).

    A rater who never met a label says nothing about it.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(np.isnan(confusion), 1, confusion))
        joint = np.log(shares) + np.zeros((len(votes.items), 1))
    for k in range(len(votes.raters)):
        for answer in range(len(votes.labels)):  # 0 * -inf is nothing here: who did not say it
            count = votes.counts[:, k, answer]
            said = count > 0
            joint[said] += count[said, None] * logs[k, :, answer]
    return joint


def _named(found: Truth) -> Truth:
    """Give the model's labels the names with which answers agree most often."""
    agreed = np.einsum("ij,ikl->jl", found.chances, found.votes.counts)
    order = np.argsort(linear_sum_assignment(agreed, maximize=True)[1])
    return found._replace(
        chances=found.chances[:, order], shares=found.shares[order], confusion=found.confusion[:, order]
    )


def _order(label: str) -> tuple[bool, float, str]:
    """Sort numbers by size, before words."""
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
