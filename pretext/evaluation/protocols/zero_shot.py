"""Zero shot: are classes recognised of which no item was learnt from, by what is known of them?

Classes are known by vectors (`evaluation.class_vectors`), and each is seen or unseen. Classifiers learn from training
items of seen classes alone. They are tested twice, by accuracy averaged over classes: test items of unseen classes with
these as the only answers; and generalised, test items of all classes with all classes as answers, the harmonic mean of
the accuracy on seen and on unseen classes (Xian et al. 2018, https://arxiv.org/abs/1707.00600).

Settings and the method are chosen by hiding seen classes in turn, as if they were unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from pretext.core.errors import require
from pretext.core.rng import rng as chance
from pretext.evaluation.class_vectors import SEEN, UNSEEN, ClassVectors, fingerprint, read_classes
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.logistic_problem import leading_axes
from pretext.evaluation.solvers.standardize import MOST_AXES, standardizer_of
from pretext.evaluation.solvers.zero_shot import METHODS, Known, Method, Scorer, Setting
from pretext.evaluation.statistics.intervals import share_interval

FOLDS = 3
LEAST_SEEN, LEAST_UNSEEN = 4, 2  # so that two can be hidden and two are left, and that there is something to tell
WANTED = "give the classes' vectors: --classes FILE, from Python ZeroShot(FILE)"


@dataclass(frozen=True)
class Items:
    """Features of items, (N, R), and their classes, (N,)."""

    x: Tensor
    y: Tensor

    def of(self, classes: Tensor) -> Items:
        """Keep the items of some classes, numbers (C,)."""
        kept = torch.isin(self.y, classes)
        return Items(self.x[kept], self.y[kept])


class ZeroShot(Protocol):
    """Unseen classes by their vectors, on a stage's average: DAP, nearest attribute vector, ESZSL and ALE.

    Features of more than 1,024 values are brought to their leading principal axes. Only training items of seen classes
    standardise them. DAP takes an attribute as present where it is above its mean over the classes, and is left out
    where two classes are then alike.

    Args:
        classes: a CSV file: `class`, `split` (seen or unseen), and a column for each attribute; without, it measures
            nothing.

    Raises:
        ValueError: there is no such file.

    """

    description = Description(
        name="zero_shot",
        title="Zero shot",
        about="unseen classes by their vectors, on each stage's average; method and settings by hiding seen classes",
        metrics=(
            Metric(
                "unseen",
                "accuracy on unseen classes",
                "unseen",
                "%",
                interval="Wilson, of the harmonic mean of the classes' items",
                about="Accuracy on test items of unseen classes, averaged over classes, with these as the only "
                "answers. Its interval is over items: other classes may be harder.",
            ),
            Metric(
                "harmonic",
                "harmonic mean over seen and unseen classes",
                "H",
                "%",
                about="All classes are answers: the harmonic mean of the accuracy on seen and on unseen classes.",
            ),
            Metric("unseen_of_all", "accuracy on unseen classes, all as answers", "unseen of all", "%"),
            Metric("seen_of_all", "accuracy on seen classes, all as answers", "seen of all", "%"),
        ),
        settings={"method": "Method"},
        variants="zero_shot_methods",
        variants_title="Zero shot, every method",
    )

    def __init__(self, classes: str | Path | None = None) -> None:
        self.file = None if classes is None else Path(classes)
        if self.file is not None:
            about = f"{type(self).description.about}; {self.file.name}, {fingerprint(self.file)}"
            self.description = replace(type(self).description, about=about)

    def suits(self, sets: Sets) -> bool:
        """Say whether items have one label each.

        Raises:
            ValueError: they have, but there are no class vectors.

        """
        require(self.file is not None or not sets.single, "zero_shot", "no class vectors", WANTED)
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        assert self.file is not None  # as `suits` has seen
        classes = read_classes(self.file, sets.classes)
        train, test = self._items(stage, sets, classes)
        scores: dict[str, Score] = {}
        for method in METHODS:
            if method.name != "dap" or len(torch.unique(classes.present(), dim=0)) == len(classes.names):
                scores[method.name] = _measured(method, train, test, classes)
        best = max(scores, key=lambda name: scores[name].validation or 0.0)
        chosen = {key: scores[best].figures[key] for key in ("unseen", "low", "high", "harmonic", "validation")}
        return Score({**chosen, "method": best}, scores)

    def _items(self, stage: str, sets: Sets, classes: ClassVectors) -> tuple[Items, Items]:
        """Standardise features by the training items of seen classes; return these, and all test items."""
        (train, test), (labels, answers) = sets.mean(stage), sets.labels()
        seen = classes.seen.to(labels.device)
        counts = labels.bincount(minlength=len(seen)), answers.bincount(minlength=len(seen))
        _enough(classes, *(count.cpu() for count in counts))
        kept = seen[labels]
        standardizer = standardizer_of(train[kept])
        x, other = (standardizer(part)[:, :-1] for part in (train[kept], test))
        if x.shape[1] > MOST_AXES:
            axes = leading_axes(x, MOST_AXES)[0]
            x, other = x @ axes, other @ axes
        return Items(x, labels[kept]), Items(other, answers)


def _measured(method: Method, train: Items, test: Items, classes: ClassVectors) -> Score:
    """Choose a method's setting, fit it on all seen classes, and score it on the test items."""
    device = train.x.device
    known = Known(classes.standardised().to(device), classes.present().to(device))
    seen, unseen = (mask.nonzero()[:, 0].to(device) for mask in (classes.seen, ~classes.seen))
    setting, validation = _choose(method, train, known, seen)
    (scorer,) = _fitted(method, train, known, seen, [setting])
    alone = class_accuracies(scorer, test.of(unseen), known, unseen)
    of_all = class_accuracies(scorer, test, known, torch.cat([seen, unseen]))
    of_seen, of_unseen = float(of_all[: len(seen)].mean()), float(of_all[len(seen) :].mean())
    counts = test.y.bincount(minlength=len(classes.names))[unseen]
    effective = int(len(unseen) ** 2 / (1 / counts.double()).sum())
    interval = share_interval(float(alone.mean()), max(1, effective))
    figures = {"unseen": float(alone.mean()), **interval._asdict(), "harmonic": harmonic(of_seen, of_unseen)}
    figures |= {"unseen_of_all": of_unseen, "seen_of_all": of_seen, "validation": validation}
    return Score(figures | dict(zip(method.named, setting, strict=True)))


def _choose(method: Method, train: Items, known: Known, seen: Tensor) -> tuple[Setting, float]:
    """Find the setting that tells hidden classes apart best, and its accuracy there; of equals the first."""
    order = torch.randperm(len(seen), generator=chance("cpu", "zero_shot", "folds")).to(seen.device)
    folds = min(FOLDS, len(seen) // 2)
    found = torch.zeros(len(method.settings))
    for hidden in (seen[order[start::folds]].sort().values for start in range(folds)):
        rest = seen[~torch.isin(seen, hidden)]
        scorers = _fitted(method, train.of(rest), known, rest, method.settings)
        judged = train.of(hidden)
        found += torch.tensor([float(class_accuracies(s, judged, known, hidden).mean()) for s in scorers])
    best = int(found.argmax())
    return method.settings[best], float(found[best] / folds)


def _fitted(method: Method, items: Items, known: Known, classes: Tensor, settings: Sequence[Setting]) -> list[Scorer]:
    of = torch.searchsorted(classes, items.y)  # classes are sorted
    return method.fit(items.x, of, known.take(classes), settings, chance("cpu", "zero_shot", method.name))


def class_accuracies(scorer: Scorer, items: Items, known: Known, answers: Tensor) -> Tensor:
    """Return the share of each class's items that get it, of the classes `answers` (C,), all of which have items: (C,).

    Raises:
        ValueError: two classes with one vector cannot be told apart.

    """
    said = answers[scorer(items.x, known.take(answers)).argmax(1)]
    right = (said == items.y).double()
    return torch.stack([right[items.y == c].mean() for c in answers]).cpu()


def harmonic(one: float, two: float) -> float:
    """Return the harmonic mean of two shares, 0 where one of them is."""
    return 2 * one * two / (one + two) if one * two > 0 else 0.0


def _enough(classes: ClassVectors, train: Tensor, test: Tensor) -> None:
    """Refuse too few classes, and classes without items."""
    counts = int(classes.seen.sum()), int((~classes.seen).sum())
    told = f"{counts[0]} seen and {counts[1]} unseen classes"
    least = f"write {LEAST_SEEN} as {SEEN} and {LEAST_UNSEEN} as {UNSEEN} at least"
    require(counts[0] >= LEAST_SEEN and counts[1] >= LEAST_UNSEEN, "zero_shot", told, least)
    for k, name in enumerate(classes.names):
        where = "training" if classes.seen[k] and not train[k] else "" if test[k] else "test"
        kind = SEEN if classes.seen[k] else UNSEEN
        require(not where, "zero_shot", f"the {kind} class {name!r} has no {where} item", "add some, or leave it out")
