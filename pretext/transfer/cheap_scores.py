"""How well does a score that took no training rank sources for a target, against transfers that were measured?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from pretext.evaluation.statistics.correlation import Correlation, spearman


class Agreement(NamedTuple):
    """How a cheap score ranks the sources of one target."""

    spearman: Correlation
    """With its 95 % interval"""
    kendall: float
    """NaN where one of both is constant"""
    regret: float
    """1 - the measured value of the source that the score names over that of the best"""


def agreement(scores: Mapping[str, float], measured: Mapping[str, float]) -> Agreement:
    """Compare a score of sources with their measured, positive values; larger is better in both.

    Raises:
        ValueError: fewer than three sources have both.

    """
    names = [name for name in scores if name in measured]
    if len(names) < 3:
        raise ValueError(f"agreement got {len(names)} sources with a score and a measured transfer; it wants 3 or more")
    said, true = np.array([[scores[name], measured[name]] for name in names]).T
    constant = np.ptp(said) == 0 or np.ptp(true) == 0
    kendall = np.nan if constant else float(kendalltau(said, true).statistic)
    regret = 1 - float(true[said.argmax()] / true.max())
    return Agreement(spearman(zip(said.tolist(), true.tolist(), strict=True)), kendall, regret)
