"""A protocol: one way to measure what a stage of a backbone knows.

A protocol is one file. It describes itself, and whoever shows a result goes by that description alone, so that a
protocol of a user's own appears in every table, report and leaderboard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from pretext.evaluation.embed import Embedded
from pretext.evaluation.results import Score


@dataclass(frozen=True)
class Metric:
    """A number of a score.

    Args:
        key: its name in a score, such as "accuracy".
        title: what it is called in a sentence, such as "mean average precision".
        short: what it is called in the heading of a narrow column, such as "mAP"; "" where nothing needs to be said.
        unit: "%" for a share between 0 and 1, which is shown times 100; "" for a number that is shown as it is.
        better: which values are better.
        interval: how the 95 % interval, "low" and "high" of the score, is computed; "" where there is none.
        about: what it says, in a sentence, for a glossary.

    """

    key: str
    title: str
    short: str = ""
    unit: Literal["%", ""] = ""
    better: Literal["larger", "smaller", "neither"] = "larger"
    interval: str = ""
    about: str = ""


@dataclass(frozen=True)
class Curve:
    """What the points of a score lie along, such as the number of labels.

    Args:
        name: the key of a point's name, such as "labels", whose values are words ("5 per class").
        at: the key of a point's place on the axis, such as "items", whose values are numbers.
        name_title: heading of the names.
        at_title: heading of the places.

    """

    name: str
    at: str
    name_title: str
    at_title: str


@dataclass(frozen=True)
class Description:
    """What a protocol says of itself: plain data, which is kept beside the results of a user's own protocol.

    Args:
        name: its key in probe.json.
        title: such as "Linear probe".
        about: how it measures, in one sentence.
        metrics: of a score. A score may lack some: a linear SVM has an accuracy or a mean average precision.
        short: heading of a narrow column; the title unless given.
        settings: keys of a score that say what was chosen, with their headings, such as {"l2": "L2"}.
        variants: the key of a row under which the scores of every setting stand, such as "nearest"; "" for none.
        variants_title: heading of a table of these; "" for none.
        apart: no metric is the headline: all are read side by side, in a table of their own.
        preference: its place, the lowest first, among the protocols whose validation chooses the stage and whose
            metrics rank a leaderboard; None: it does neither. Those of this project have 1 to 4.
        needs: names of the protocols that must be measured too, because they choose the stage.
        once: it is measured at the chosen stage alone, and its score has points along `curve`.
        curve: of a protocol that is measured once.
        labels: it wants items with labels.

    """

    name: str
    title: str
    about: str
    metrics: tuple[Metric, ...]
    short: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    variants: str = ""
    variants_title: str = ""
    apart: bool = False
    preference: int | None = None
    needs: tuple[str, ...] = ()
    once: bool = False
    curve: Curve | None = None
    labels: bool = True

    @property
    def heading(self) -> str:
        """The short title, or the title."""
        return self.short or self.title

    def metric_of(self, score: Score) -> Metric | None:
        """Return the first metric that a score has."""
        return next((metric for metric in self.metrics if score.value(metric.key) is not None), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Description:
        """Read what `to_json` returned; keys of a later release are left out."""
        own = {key: value for key, value in plain.items() if key in cls.__dataclass_fields__}
        own["metrics"] = tuple(Metric(**metric) for metric in own["metrics"])
        own["needs"] = tuple(own.get("needs", ()))
        own["curve"] = Curve(**own["curve"]) if own.get("curve") else None
        return cls(**own)


@dataclass(frozen=True)
class Sets:
    """The items that a network has seen: those to learn from and those to be tested on, at most once.

    Args:
        train: may be used freely; whatever is chosen is chosen on a share of it.
        test: for the final score alone.
        views: the training items again, each time augmented anew.
        device: where to compute.
        classes: their names, in the order of their labels, where they are known.
        pair: of two encoders, the stages that hold their embeddings; none: this is one network.
        examples: of two encoders, what stands for classes, such as prompts; none: the training items do.

    """

    train: Embedded
    test: Embedded
    views: Sequence[Embedded] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    classes: Sequence[str] = ()
    pair: tuple[str, str] | None = None
    examples: Embedded | None = None

    @property
    def labelled(self) -> bool:
        """Whether the items have labels at all."""
        return len(self.train.labels) > 0

    @property
    def single(self) -> bool:
        """Whether each item has one label, (N,); else it may have several, (N, K): 1 present, 0 absent, -1 neither."""
        return self.labelled and self.train.labels.ndim == 1

    @property
    def numbers(self) -> bool:
        """Whether labels are no classes but numbers: floats (N, V), NaN where one is not known."""
        return self.labelled and self.train.labels.is_floating_point()

    def labels(self) -> tuple[Tensor, Tensor]:
        """Return the labels of both sets, (N,) and (M,) or (N, K) and (M, K), on the device."""
        return self.train.labels.to(self.device), self.test.labels.to(self.device)

    def mean(self, stage: str) -> tuple[Tensor, Tensor]:
        """Return a stage of both sets averaged over its grid, (N, D) and (M, D), on the device."""
        return self.train.mean[stage].to(self.device), self.test.mean[stage].to(self.device)

    def grid(self, stage: str) -> tuple[Tensor, Tensor]:
        """Return a stage of both sets pooled to a coarse grid, flat, (N, D) and (M, D), on the device."""
        return self.train.grid[stage].to(self.device), self.test.grid[stage].to(self.device)


class Protocol(ABC):
    """One way to measure a stage. A plug-in is a class derived from this one, built without arguments.

    `--protocols` and a benchmark's YAML name this project's protocols by their short names, a plug-in by its class
    path: `--protocols linear my_module.MyProtocol`.
    """

    description: Description
    """What it says of itself."""

    @abstractmethod
    def suits(self, sets: Sets) -> bool:
        """Say whether it can measure such sets; where it cannot, it is left out."""

    @abstractmethod
    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        """Measure one stage. The same sets give the same score.

        `rng` is on the CPU and seeded by the protocol's and the stage's names, so that what else is measured does not
        matter. A protocol that wants several independent streams derives them with `pretext.core.rng.rng`.

        Raises:
            ValueError: sets that cannot be measured, although they suit.

        """
