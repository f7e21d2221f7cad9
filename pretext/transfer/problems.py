"""Targets: what is asked of features, how a head answers, and what each item of the test costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Task, TaskFactory
from pretext.transfer.codes import STAGE
from pretext.transfer.readouts import ReadOut, Wanted, wanted_of
from pretext.transfer.suite import Readout


class Items(NamedTuple):
    """Pictures and, where there are some, their labels."""

    x: Tensor
    """uint8 (N, 3, S, S)"""
    y: Tensor | None

    def take(self, positions: Tensor) -> Items:
        """Choose some."""
        return Items(self.x[positions], None if self.y is None else self.y[positions])

    def to(self, device: torch.device) -> Items:
        """Move them."""
        return Items(self.x.to(device), None if self.y is None else self.y.to(device))


class Asked(NamedTuple):
    """Questions to a backbone, and what grades the answers."""

    question: Tensor
    rest: Any


class Problem(ABC):
    """A target."""

    alone: bool
    """Each item of the test is asked by itself, since a task may grade a batch as a whole."""

    @abstractmethod
    def ask(self, items: Items, rng: Generator) -> Asked:
        """Make questions of items."""

    @abstractmethod
    def head(self, code: Backbone) -> nn.Module:
        """Build what answers from the features of such a backbone."""

    @abstractmethod
    def loss(self, head: nn.Module, features: Features, asked: Asked) -> Tensor:
        """Grade a batch: ()."""

    @abstractmethod
    def item_losses(self, head: nn.Module, features: Features, asked: Asked) -> Tensor:
        """Grade each item: (N,)."""


class Labels(Problem):
    """Labels, of whatever form, read by a `ReadOut`. Numbers are standardised as they are in the items to train on.

    Args:
        items: to train on.
        classes: how many there are.
        readout: how they are read.

    Raises:
        ValueError: no labels, or labels that ask nothing.

    """

    alone = False

    def __init__(self, items: Items, classes: int, readout: Readout) -> None:
        require(items.y is not None, self, "data without labels", "name a pretext task, or labelled data")
        assert items.y is not None
        self.wanted: Wanted = wanted_of(items.y, classes)
        self.readout, self.middle, self.spread = readout, torch.zeros(()), torch.ones(())
        if self.wanted.form == "class":
            seen = torch.unique(items.y).tolist()
            require(len(seen) > 1, self, f"{len(items.y)} items of one class, {seen}", "it wants two classes or more")
        if items.y.is_floating_point():
            axes = [axis for axis in range(items.y.ndim) if axis != 1]
            known = (~items.y.isnan()).sum(axes, keepdim=True).clamp(min=1)
            self.middle = items.y.nansum(axes, keepdim=True) / known
            off = (items.y - self.middle).square().nansum(axes, keepdim=True) / known
            self.spread = off.sqrt().clamp(min=1e-6)

    def ask(self, items: Items, rng: Generator) -> Asked:
        assert items.y is not None
        y = items.y
        if y.is_floating_point():
            y = (y - self.middle.to(y.device)) / self.spread.to(y.device)
        return Asked(items.x.float() / 255, y)

    def head(self, code: Backbone) -> nn.Module:
        return ReadOut(code.stages[STAGE], self.wanted, self.readout.kind, self.readout.width)

    def loss(self, head: nn.Module, features: Features, asked: Asked) -> Tensor:
        return self.item_losses(head, features, asked).mean()

    def item_losses(self, head: nn.Module, features: Features, asked: Asked) -> Tensor:
        assert isinstance(head, ReadOut)
        return head.losses(features.stages[STAGE], asked.rest)


class Pretext(Problem):
    """A pretext task, answered by its own head. Each item's loss is that of a batch of this item alone.

    A task that divides its loss by that of the batch's blind guess then divides by the item's: the order of sources on
    an item, which is all that counts, stays. What compares items with one another, such as `Contrast`, cannot be asked.

    Args:
        factory: of the task.

    """

    alone = True

    def __init__(self, factory: TaskFactory) -> None:
        self.factory = factory
        self.poser: Task | None = None

    def ask(self, items: Items, rng: Generator) -> Asked:
        assert self.poser is not None, "head() builds the task"
        question, answer, given = self.poser.pose(items.x.float() / 255, rng)
        require(
            isinstance(question, Tensor), self, f"a question of {type(question).__name__}", "it asks about pictures"
        )
        return Asked(question, (given, answer))

    def head(self, code: Backbone) -> nn.Module:
        task = self.factory(code)
        self.poser = self.poser or task
        return task

    def loss(self, head: nn.Module, features: Features, asked: Asked) -> Tensor:
        assert isinstance(head, Task)
        given, answer = asked.rest
        return head.grade(head.solve(features, given), answer).loss

    def item_losses(self, head: nn.Module, features: Features, asked: Asked) -> Tensor:
        return self.loss(head, features, asked)[None]
