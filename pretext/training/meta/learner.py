"""What learns the task of an episode: the part of a `MetaLearner` that can be exchanged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from pretext.core.built import Built
from pretext.training.optimization import OptimizerFactory

Loss = Callable[[Tensor, Tensor], Tensor]
"""Grades answers (n, outputs) to questions by what is right, (n,) classes or (n, outputs): ()."""
Named = Mapping[str, Tensor]


class Episodes(NamedTuple):
    """B episodes of one shape: S examples to learn from and Q questions each."""

    support: Tensor
    """(B, S, C, ...)"""
    support_y: Tensor
    """(B, S) int64 classes, or (B, S, outputs) values."""
    query: Tensor
    """(B, Q, C, ...)"""
    query_y: Tensor
    """(B, Q) or (B, Q, outputs)"""
    metadata: Tensor | None = None
    """(B, D) what else is known of each."""


class Network(NamedTuple):
    """The network that is trained: its parameters, and the network as a function of them."""

    parameters: Named
    """By name, those that are trained."""
    call: Callable[[Named, Tensor], Tensor]
    """Turns parameters or buffers that take the place of its own, and rows (n, C, ...), to answers (n, outputs)."""


class Answers(NamedTuple):
    """What is said of the questions of B episodes."""

    after: Tensor
    """(B, Q, outputs), after learning."""
    before: Tensor | None = None
    """(B, Q, outputs), by the network as it is."""
    along: Tensor | None = None
    """(B, S, outputs) of the examples, each from those before it alone; they count as the questions do."""


class Spec(NamedTuple):
    """What a learner must know before it can be built."""

    dim: int
    """Width of the backbone's features."""
    outputs: int
    """Numbers that answer a question."""
    facts: int
    """Numbers of metadata."""


class Learner(Built, nn.Module, ABC):
    """Learns the task of an episode from its examples, and answers its questions."""

    head: nn.Module
    """Reads answers from the backbone's pooled features (n, D)."""

    @abstractmethod
    def begin(self, backbone: nn.Module, spec: Spec) -> None:
        """Build what depends on the episodes; the caller seeds torch's generator."""

    @abstractmethod
    def answer(self, network: Network, episodes: Episodes, loss: Loss) -> Answers:
        """Learn each episode's task from its examples alone, and answer its questions, each for itself."""

    @abstractmethod
    def own_optimizer(self) -> OptimizerFactory | None:
        """Return what optimises `apart`, where that is not what optimises everything else."""

    @abstractmethod
    def apart(self) -> list[nn.Parameter]:
        """List the parameters that have an optimiser of their own."""

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words how it learns, for results."""
