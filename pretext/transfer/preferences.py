"""https://doi.org/10.2307/2334029 (Bradley and Terry, Biometrika 1952): how good items are, from who preferred which.

Item i is preferred to item j with the chance 1 / (1 + exp(s_j - s_i)): the strengths s are found by maximum
likelihood. A tie is half a preference for each. There is a largest likelihood, and one only, if no part of the items is
preferred to all others without exception (Ford 1957).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit, ndtr

from pretext.core.errors import require
from pretext.transfer.answers import rows

COLUMNS = ("rater", "a", "b", "winner")
TIE = "tie"
STEPS, HALVINGS = 100, 50
TOLERANCE = 1e-12
"""Of the strengths: where Newton's step is shorter, they are found."""
Z95 = 1.959963984540054
Array = NDArray[np.float64]


class Preferences(NamedTuple):
    """How often each rater preferred each item to each other."""

    items: tuple[str, ...]
    raters: tuple[str, ...]
    wins: Array
    """(K, I, I): in row i and column j how often i was preferred to j; a tie counts half in both places"""
    ties: Array
    """(K,): how many answers of each rater were ties"""

    @property
    def given(self) -> Array:
        """Count the answers of each rater: (K,)."""
        counted: Array = self.wins.sum((1, 2))
        return counted


class Strengths(NamedTuple):
    """What Bradley and Terry's model makes of preferences."""

    preferences: Preferences
    values: Array
    """(I,): of mean 0; a difference is the logarithm of the odds that one is preferred to the other"""
    covariance: Array
    """(I, I): of the values, by the curvature of the likelihood"""
    likelihood: float
    """The logarithm of what all preferences are worth"""

    @property
    def order(self) -> list[int]:
        """Sort the items, the strongest first."""
        return [int(k) for k in np.argsort(-self.values, kind="stable")]

    @property
    def intervals(self) -> Array:
        """Bound each value, with 95 % confidence: (I, 2)."""
        reach = Z95 * np.sqrt(self.covariance.diagonal())
        return np.stack([self.values - reach, self.values + reach], 1)

    def above(self, one: int, other: int) -> float:
        """Tell how sure it is that an item is stronger than another one: a chance."""
        variance = self.covariance[one, one] + self.covariance[other, other] - 2 * self.covariance[one, other]
        return float(ndtr((self.values[one] - self.values[other]) / np.sqrt(variance)))

    def with_it(self, rater: int) -> float:
        """Tell what share of a rater's answers names the stronger item; a tie, and equal items, are half of one."""
        wins = self.preferences.wins[rater]
        gap = self.values[:, None] - self.values
        return float((wins * (0.5 + 0.5 * np.sign(np.where(np.abs(gap) < 1e-9, 0, gap)))).sum() / wins.sum())


def preferred(one: ArrayLike, other: ArrayLike) -> Array:
    """Give the chance that an item of one strength is preferred to one of another."""
    return np.asarray(expit(np.subtract(one, other)))


def read_preferences(file: str | Path) -> Preferences:
    """Read `rater,a,b,winner` with a heading, perhaps a fifth column `count`; the winner is a's name, b's, or `tie`.

    Raises:
        ValueError: another heading, a row that cannot be read, another winner; the line is named. As `preferences_of`.
        OSError: the file cannot be read.

    """
    found = []
    for where, (rater, a, b, winner), count in rows(file, COLUMNS):
        if a == b:
            raise ValueError(f"{where}: {a!r} is compared with itself; it wants two items")
        if winner not in (a, b, TIE):
            raise ValueError(f"{where}: the winner is {winner!r}; it wants {a}, {b} or {TIE}")
        found.append((rater, a, b, winner, count))
    return preferences_of(found)


def preferences_of(answers: Iterable[tuple[str, str, str, str, float]]) -> Preferences:
    """Count answers (rater, a, b, winner, how often).

    Raises:
        ValueError: there is none; items that no comparison connects.

    """
    every = list(answers)
    require(bool(every), "preferences", "no answer", f"give rows of {','.join(COLUMNS)}")
    items = tuple(dict.fromkeys(name for _, a, b, _, _ in every for name in (a, b)))
    raters = tuple(dict.fromkeys(one[0] for one in every))
    places = [{name: k for k, name in enumerate(names)} for names in (items, raters)]
    wins, ties = np.zeros((len(raters), len(items), len(items))), np.zeros(len(raters))
    for rater, a, b, winner, count in every:
        k, i, j = places[1][rater], places[0][a], places[0][b]
        share = {a: 1.0, b: 0.0}.get(winner, 0.5)
        wins[k, i, j] += count * share
        wins[k, j, i] += count * (1 - share)
        ties[k] += count * (winner not in (a, b))
    found = Preferences(items, raters, wins, ties)
    groups = _groups(found, "weak")
    apart = "; ".join(", ".join(group) for group in groups)
    wanted = "nothing tells which are better: compare some of them, or give a file for each group"
    require(len(groups) == 1, "preferences", f"{len(groups)} groups of items were never compared ({apart})", wanted)
    return found


def bradley_terry(preferences: Preferences, prior: float = 0.0) -> Strengths:
    """Find how strong each item is, by Newton's method.

    Args:
        preferences: of raters, who all count alike.
        prior: so many ties of each item with an average one are added. Without them an item that always wins is
            infinitely strong, which is refused.

    Raises:
        ValueError: a prior below 0; items that nobody prefers to the others, or all do, without a prior.

    """
    require(prior >= 0, "bradley_terry", f"{prior=}", "give 0 or more")
    if prior == 0:
        _check_bounded(preferences)
    wins = preferences.wins.sum(0)
    values = np.zeros(len(wins))
    worth = _likelihood(values, wins, prior)
    for _ in range(STEPS):
        slope, information = _slopes(values, wins, prior)
        step = np.linalg.pinv(information, hermitian=True) @ slope
        for _ in range(HALVINGS):
            after = _likelihood(values + step, wins, prior)
            if after >= worth - 1e-12 * abs(worth):
                break
            step = step / 2
        values, worth = values + step, after
        if np.abs(step).max() < TOLERANCE:
            break
    _, information = _slopes(values, wins, prior)
    centre = np.eye(len(wins)) - 1 / len(wins)
    covariance = centre @ np.linalg.pinv(information, hermitian=True) @ centre
    return Strengths(preferences, centre @ values, covariance, _likelihood(values, wins, 0.0))


def _likelihood(values: Array, wins: Array, prior: float) -> float:
    """Take the logarithm of what preferences are worth, and ties with an item of strength 0."""
    asked = float((wins * log_expit(values[:, None] - values)).sum())
    return asked + 0.5 * prior * float((log_expit(values) + log_expit(-values)).sum())


def _slopes(values: Array, wins: Array, prior: float) -> tuple[Array, Array]:
    """Give the slope (I,) and the curvature (I, I), with the sign changed, of the same."""
    chance, alone = preferred(values[:, None], values), expit(values)
    slope = (wins - (wins + wins.T) * chance).sum(1) + prior * (0.5 - alone)
    weights = (wins + wins.T) * chance * (1 - chance)
    return slope, np.diag(weights.sum(1) + prior * alone * (1 - alone)) - weights


def _groups(preferences: Preferences, connection: str) -> list[list[str]]:
    """Group items that comparisons connect: "weak", in any way; "strong": each was preferred to each, along a chain."""
    wins = preferences.wins.sum(0)
    count, labels = connected_components(wins, directed=True, connection=connection)
    return [[preferences.items[k] for k in np.flatnonzero(labels == group)] for group in range(count)]


def _check_bounded(preferences: Preferences) -> None:
    """Refuse items to which no other one is ever preferred; where there are none, each is won and lost against."""
    wins, items = preferences.wins.sum(0), preferences.items
    for group in _groups(preferences, "strong"):
        inside = np.array([item in group for item in items])
        if not inside.all() and not wins[~inside][:, inside].any():
            got = f"no other item is ever preferred to {', '.join(group)}"
            advice = "ask more raters, or give `pretext transfer votes` --prior 1"
            raise ValueError(f"bradley_terry: {got}, so nothing bounds how far above they are; {advice}")
