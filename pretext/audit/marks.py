"""What was scored in an audit, batch by batch, and how far to trust it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pretext.audit.results import Score
from pretext.evaluation.statistics.intervals import exact_interval, student

REMOVED = "loss removed"
CONFIDENCE = 0.95  # that all rows of a task hold at once


@dataclass(frozen=True)
class Marks:
    """Scores of batches of held-out items.

    Args:
        values: mean score of each batch.
        weights: items of each batch.

    """

    values: list[float]
    weights: list[int]

    def score(self, metric: str, rows: int) -> Score:
        """Average them, with an interval that holds together with those of all `rows` of a task (Bonferroni).

        Of an accuracy it is exact; puzzles of one item are not independent, and count as one. Of all else it is
        Student's over batches.
        """
        items, level = sum(self.weights), 1 - (1 - CONFIDENCE) / rows
        mean = sum(value * weight for value, weight in zip(self.values, self.weights, strict=True)) / items
        if metric == "accuracy":
            low, high = exact_interval(min(1.0, mean), items, level)
        else:
            low, high = student(self.values, -math.inf if metric == REMOVED else 0.0, confidence=level)
        return Score(mean, min(low, mean), max(high, mean))
