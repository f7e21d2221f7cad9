"""The linear probe: how well can a linear classifier read the class off frozen features?"""

from __future__ import annotations

from torch import Generator, Tensor

from pretext.evaluation.augmented import stacked
from pretext.evaluation.folds import stratified
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.logistic_regression import STRENGTHS, probe
from pretext.evaluation.statistics.intervals import accuracy_of


class LinearProbe(Protocol):
    """Multinomial logistic regression on a stage's grid, and on that of augmented views where there are some."""

    description = Description(
        name="linear",
        title="Linear probe",
        short="Linear",
        about="multinomial logistic regression on standardised features, refitted on all of train; l2 one of "
        + ", ".join(f"{strength:g}" for strength in STRENGTHS),
        metrics=(Metric("accuracy", "accuracy", unit="%", interval="Wilson"),),
        settings={"l2": "L2"},
        preference=1,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        train, test = self._features(stage, sets)
        times = 1 + len(sets.views)
        held = stratified(sets.train.labels).repeat(times).to(sets.device)  # all views of an item on one side
        labels, answers = sets.labels()
        probed = probe(train, labels.repeat(times), test, answers, held=held)
        accuracy = accuracy_of(probed.predictions, answers)
        return Score({**accuracy, "l2": probed.l2, "validation": probed.validation})

    def _features(self, stage: str, sets: Sets) -> tuple[Tensor, Tensor]:
        """Return the grids of train, with its augmented views below it, and of test, where they lie.

        The solver brings them to the device where the labels are, whole or in blocks.
        """
        train = stacked([sets.train, *sets.views], stage) if sets.views else sets.train.grid[stage]
        return train, sets.test.grid[stage]
