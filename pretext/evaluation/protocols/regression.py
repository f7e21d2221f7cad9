"""Ridge regression: how well can a linear map read numbers, such as a pose, off frozen features?"""

from __future__ import annotations

from torch import Generator, Tensor

from pretext.core.errors import require
from pretext.core.rng import rng as keyed
from pretext.evaluation.folds import random_share
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.ridge import STRENGTHS, regress
from pretext.evaluation.statistics.regression import explained, sums


class Regression(Protocol):
    """Ridge regression of vectors of numbers on a stage's grid. Items of which a number is not known are left out."""

    description = Description(
        name="regression",
        title="Ridge regression",
        short="Ridge",
        about="ridge regression on standardised features, refitted on all of train; l2 one of "
        + ", ".join(f"{strength:g}" for strength in STRENGTHS)
        + "; R² is averaged over the numbers, 0 is what their mean explains",
        metrics=(Metric("r2", "R²", "R²", "%", interval="bootstrap over items"),),
        settings={"l2": "L2"},
        preference=4,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.numbers and sets.train.labels.ndim == 2

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        (train, targets), (test, answers) = (
            _known(features, labels) for features, labels in zip(sets.grid(stage), sets.labels(), strict=True)
        )
        require(
            len(train) > 1 and len(test) > 0,
            self,
            f"{len(train)} training and {len(test)} test items whose numbers are all known",
            "give more labelled items",
        )
        found = regress(train, targets, test, random_share(len(train)).to(targets.device))
        score = explained(sums(found.predictions, answers).cpu(), keyed("cpu", "regression", "interval"))
        each = [None if value != value else value for value in score.each]
        return Score({**score._asdict(), "each": each, "l2": found.l2, "validation": found.validation})


def _known(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the items whose numbers are all known."""
    kept = ~labels.isnan().any(1)
    return features[kept], labels[kept]
