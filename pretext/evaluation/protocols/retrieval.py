"""Retrieval: is the right text of a picture nearer than all others, and the right picture of a text?

Two encoders give each item an embedding in each of two modalities, compared by their cosine. A stage is the modality
that asks, so both directions have a row. Where items have a class, the encoders classify too: each class has the mean
embedding of its prompts, or of the other modality of training items, and an item gets the nearest (CLIP,
https://arxiv.org/abs/2103.00020).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from pretext.core.errors import require
from pretext.evaluation.class_vectors import fingerprint
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.nearest_neighbours import on_sphere
from pretext.evaluation.statistics.intervals import share_interval, wilson

KS = (1, 5, 10)
ITEMS = 1000  # of train, for validation
ROUNDING = 1e-6  # cosines that differ by less are equal: equal embeddings, multiplied in another place of a matrix
ROWS = 2048


class Retrieval(Protocol):
    """Recall among the test items in both directions, and a zero-shot classifier where they have classes.

    Equal neighbours come in a random order, of which the mean is told: encoders that find all items alike score
    k / N. Captions that several items share are equal, and count so.

    Args:
        classes: a CSV of `class` and `prompt`; none: a class is what its training items are in the other modality.

    Raises:
        ValueError: there is no such file.

    """

    description = Description(
        name="retrieval",
        title="Retrieval",
        about="cosine of two encoders' embeddings among the test items; a stage is the modality that asks",
        metrics=(
            Metric("r1", "recall at 1", "R@1", "%", interval="Wilson", about="How often the right one is the nearest."),
            Metric("r5", "recall at 5", "R@5", "%", about="How often the right one is among the nearest five."),
            Metric("r10", "recall at 10", "R@10", "%", about="How often it is among the nearest ten."),
            Metric("median_rank", "median rank", "median rank", "", "smaller", about="The right one's place, from 1."),
            Metric(
                "classified",
                "accuracy as a zero-shot classifier",
                "zero shot",
                "%",
                about="Share of items nearest to their class's prompts, or to its training items' other modality.",
            ),
        ),
        labels=False,
    )

    def __init__(self, classes: str | Path | None = None) -> None:
        self.file = None if classes is None else Path(classes)
        if self.file is not None:
            about = f"{type(self).description.about}; prompts {self.file.name}, {fingerprint(self.file)}"
            self.description = replace(type(self).description, about=about)

    def suits(self, sets: Sets) -> bool:
        """Say whether these are two encoders' embeddings."""
        return sets.pair is not None

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        other = _other(stage, sets)
        (train, test), (known, asked) = sets.mean(stage), sets.mean(other)
        some = torch.randperm(len(train), generator=rng)[:ITEMS].sort().values.to(train.device)
        figures = recalls(test, asked)
        low, high = share_interval(figures["r1"], len(test))
        held = recalls(train[some], known[some])["r1"]
        figures |= {"low": low, "high": high, "items": len(test), "validation": held}
        return Score(figures | (_classified(stage, sets, other) if sets.single else {}))


def _other(stage: str, sets: Sets) -> str:
    """Name the modality that is found."""
    pair = sets.pair or ()
    require(stage in pair, "retrieval", f"stage {stage!r} of {', '.join(pair)}", "probe two encoders")
    return next(name for name in pair if name != stage)


def recalls(questions: Tensor, answers: Tensor) -> dict[str, float]:
    """Return {"r1", "r5", "r10", "median_rank"}: rows of `answers` (N, D) belong to those of `questions` (N, D)."""
    unit, found = on_sphere(questions), on_sphere(answers)
    better, tied = [], []
    for start in range(0, len(unit), ROWS):
        similar = unit[start : start + ROWS] @ found.T
        own = (unit[start : start + ROWS] * found[start : start + ROWS]).sum(1, keepdim=True)
        itself = torch.arange(start, start + len(similar), device=unit.device)[:, None] == torch.arange(
            len(found), device=unit.device
        )
        better.append(((similar > own + ROUNDING) & ~itself).sum(1))
        tied.append((((similar - own).abs() <= ROUNDING) & ~itself).sum(1))
    above, beside = torch.cat(better).double(), torch.cat(tied).double()
    shares = {f"r{k}": float(((k - above) / (beside + 1)).clamp(0, 1).mean()) for k in KS}
    return shares | {"median_rank": float((above + 1 + beside / 2).quantile(0.5))}


def _classified(stage: str, sets: Sets, other: str) -> dict[str, float]:
    """Give each test item the class whose examples are nearest; `examples` stand for classes where there are some."""
    shown = sets.train if sets.examples is None else sets.examples
    classes = torch.unique(sets.train.labels)
    if sets.examples is not None and other not in shown.mean:
        return {}  # prompts are of the modality that asks itself
    means = class_means(shown.mean[other].to(sets.device), shown.labels.to(sets.device), classes.to(sets.device))
    said = classes.to(sets.device)[(on_sphere(sets.mean(stage)[1]) @ means.T).argmax(1)]
    answers = sets.labels()[1]
    right = int((said == answers).sum())
    low, high = wilson(right, len(answers))
    return {"classified": right / len(answers), "classified_low": low, "classified_high": high}


def class_means(embeddings: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Average the directions of each class's embeddings (P, D), and give the means length 1: (K, D)."""
    unit = on_sphere(embeddings)
    return on_sphere(torch.stack([unit[labels == label].mean(0) for label in classes]))
