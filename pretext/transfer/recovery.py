"""How well hidden entries of a table come back: what to expect of a completion, and which method to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata, spearmanr

from pretext.transfer.complete import Scale, complete
from pretext.transfer.completion import Method
from pretext.transfer.tables import Matrix

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RecoveryScores:
    """How predictions of hidden entries agree with what was measured; NaN where nothing can be said.

    Args:
        spearman: of the hidden sources of each target, averaged over targets with three or more of them.
        kendall: likewise.
        hit: share of targets whose best source, of all, is the one that the completed table names.
        regret: 1 - value of the source that the completed table names over that of the best, averaged over targets.
        auc: of "above the target's median" among the hidden entries, by how far a prediction lies above it.
        average_precision: likewise.
        coverage: share of hidden entries within their interval.
        constant: the method gave one value to all sources.

    """

    spearman: float
    kendall: float
    hit: float
    regret: float
    auc: float
    average_precision: float
    coverage: float
    constant: bool


class Hidden(NamedTuple):
    """A table with a part of it taken away."""

    matrix: Matrix
    mask: Mask
    """(S, T): what was hidden"""


def hide(matrix: Matrix, share: float, seed: int) -> Hidden:
    """Take a share of the entries away, at random, but leave each source and each target at least one.

    Raises:
        ValueError: a share not in (0, 1), or too large for that.

    """
    if not 0 < share < 1:
        raise ValueError(f"hide got {share=}; it wants one between 0 and 1")
    values = matrix.values.copy()
    there = np.argwhere(~np.isnan(values))
    wanted = round(share * len(there))
    mask = np.zeros(values.shape, bool)
    for place in np.random.default_rng(seed).permutation(len(there)):
        s, t = there[place]
        if mask.sum() < wanted and min((~np.isnan(values[s])).sum(), (~np.isnan(values[:, t])).sum()) > 1:
            mask[s, t], values[s, t] = True, np.nan
    if mask.sum() < wanted:
        raise ValueError(f"hide got {share=}; without a source or a target that has no entry, {mask.sum()} can go")
    return Hidden(Matrix(*matrix[:2], values), mask)


def recover(
    matrix: Matrix,
    method: str | Method,
    share: float,
    seed: int = 0,
    features: Mapping[str, Sequence[float]] | None = None,
    scale: Scale = "log",
    refits: int = 0,
) -> RecoveryScores:
    """Hide a share of a measured table, complete it, and compare.

    Raises:
        ValueError: as in `hide` and `complete`.

    """
    hidden = hide(matrix, share, seed)
    found = complete(hidden.matrix, method, features, scale, refits, seed)
    inside = (found.low <= matrix.values) & (matrix.values <= found.high)
    coverage = float(inside[hidden.mask].mean()) if refits > 1 else np.nan
    return compare(matrix, found.matrix.values, hidden.mask, coverage, found.constant)


def leave_one_out(
    matrix: Matrix,
    method: str | Method,
    side: Literal["source", "target"],
    features: Mapping[str, Sequence[float]],
    scale: Scale = "log",
    seed: int = 0,
) -> RecoveryScores:
    """Hide all entries of one source (or target) after the other, and predict each from the task's features alone.

    A target of which nothing is known has no level of its own, so orders within it (Spearman) are what counts.

    Raises:
        ValueError: as in `complete`.

    """
    predicted = np.full(matrix.values.shape, np.nan)
    constant = True
    for place in range(len(matrix.sources if side == "source" else matrix.targets)):
        at = (place, slice(None)) if side == "source" else (slice(None), place)
        values = matrix.values.copy()
        values[at] = np.nan
        found = complete(Matrix(*matrix[:2], values), method, features, scale, 0, seed)
        predicted[at], constant = found.matrix.values[at], constant and found.constant
    return compare(matrix, predicted, ~np.isnan(matrix.values), np.nan, constant)


def compare(matrix: Matrix, completed: Array, mask: Mask, coverage: float, constant: bool) -> RecoveryScores:
    """Compare a completed table with the measured one, where `mask` says that an entry was hidden."""
    spearmans, kendalls, hits, regrets, above, scores = [], [], [], [], list[bool](), list[float]()
    for t in range(len(matrix.targets)):
        true, said, hidden = matrix.values[:, t], completed[:, t], mask[:, t]
        there = ~np.isnan(true)
        if hidden.sum() >= 3:
            spearmans.append(_correlation(true[hidden], said[hidden], spearmanr))
            kendalls.append(_correlation(true[hidden], said[hidden], kendalltau))
        if hidden.any():
            named = int(np.nanargmax(np.where(there, said, np.nan)))
            hits.append(float(true[named] == np.nanmax(true)))
            regrets.append(1 - true[named] / np.nanmax(true))
            middle = np.nanmedian(true)
            above += (true[hidden] > middle).tolist()
            scores += (rankdata(said[there])[hidden[there]] / there.sum()).tolist()
    auc, precision = _curves(np.array(above), np.array(scores))
    spearman, kendall, hit, regret = (
        float(np.mean(part)) if part else np.nan for part in (spearmans, kendalls, hits, regrets)
    )
    return RecoveryScores(spearman, kendall, hit, regret, auc, precision, coverage, constant)


def _correlation(true: Array, said: Array, of: object) -> float:
    """Correlate ranks; a constant says nothing, which is 0."""
    if np.ptp(said) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(of(true, said).statistic)  # type: ignore[operator]


def _curves(above: Mask, scores: Array) -> tuple[float, float]:
    """Return the area under the ROC curve and the average precision."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if above.all() or not above.any():
        return np.nan, np.nan
    return float(roc_auc_score(above, scores)), float(average_precision_score(above, scores))


def repeated(
    matrix: Matrix, method: str | Method, share: float, seeds: int, refits: int = 0, scale: Scale = "log"
) -> list[RecoveryScores]:
    """Recover with several seeds, each of which hides other entries."""
    return [recover(matrix, method, share, seed, scale=scale, refits=refits) for seed in range(seeds)]
