"""Nearest neighbours: do items that look alike to the backbone share a class?"""

from __future__ import annotations

from torch import Generator

from pretext.evaluation.folds import stratified
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.nearest_neighbours import KS, TEMPERATURE, knn
from pretext.evaluation.statistics.intervals import accuracy_of


class NearestNeighbours(Protocol):
    """A vote of the k nearest training items on a stage's average, k chosen on the validation share of train.

    Of equally good k the largest is chosen. The scores of every k stand beside that of the chosen one.
    """

    description = Description(
        name="knn",
        title="kNN",
        about=f"cosine, votes exp(cosine / {TEMPERATURE:g}), on each stage's average (raw input: as it is); k one of "
        + ", ".join(map(str, KS)),
        metrics=(Metric("accuracy", "accuracy", unit="%", interval="Wilson"),),
        settings={"k": "k"},
        variants="nearest",
        preference=3,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        (train, test), (labels, answers) = sets.mean(stage), sets.labels()
        held = stratified(labels)
        tried = knn(train[~held], labels[~held], train[held])
        right = {k: int((votes == labels[held]).sum()) for k, votes in tried.items()}
        k = max(tried, key=lambda k: (right[k], k))
        scores = {str(k): accuracy_of(votes, answers) for k, votes in knn(train, labels, test).items()}
        chosen = {**scores[str(k)], "k": k, "validation": right[k] / int(held.sum())}
        return Score(chosen, {name: Score(accuracy) for name, accuracy in scores.items()})
