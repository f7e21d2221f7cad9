"""The words: what a puzzle, its features, its grade, a backbone and a task are.

One alphabet for shapes everywhere: N items, C channels, S input axes, D features, G feature axes, K classes, T frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

from torch import Generator, Tensor, nn

from pretext.core.built import Built

FORGOTTEN = "its constructor does without super().__init__(); call that in the first line"
Tree = Any
"""A tensor, or a tuple or dict of trees. Typed loosely because a task alone knows the structure of its own answer."""


class Puzzle(NamedTuple):
    """A question made from unlabelled data, and what solves it."""

    question: Tree
    """(N, C, *S), or a dict of them by modality: all that the backbone sees."""
    answer: Tree
    """What the head must say: a class, pixels, a frozen teacher's features, or a tuple of these."""
    given: Tree = None
    """What the head may know besides the features (a mask, a permutation); never the answer."""


class Features(NamedTuple):
    """What a backbone saw."""

    stages: dict[str, Tensor]
    """Name -> (N, D_i, *G_i), shallow to deep: probes tap them, distillation ties them."""
    pooled: Tensor
    """(N, D)"""


Seen = Any
"""Features, or by modality a dict of them where the backbone is a `MultiModal`; a task or backbone says which."""


class Grade(NamedTuple):
    """How well a puzzle was solved."""

    loss: Tensor
    """()"""
    scores: dict[str, Tensor]
    """Each (), for the log only."""


class Panel(NamedTuple):
    """One picture of a drawing: an image with a caption, framed green or red where an answer was right or wrong."""

    image: Tensor
    """(3, H, W) in [0, 1]"""
    caption: str = ""
    right: bool | None = None
    """None: nothing to judge, no frame."""


class Backbone(Built, nn.Module, ABC):
    """A network that turns unnormalised input in [0, 1] into features; it does its own normalisation.

    `dim` is the width of `Features.pooled`, `axes` the input axes it reads ("hw" images, "thw" clips, "t" waveforms, ""
    where it takes several modalities), `stages` the channels of each tapped stage by name, shallow to deep.
    """

    dim: int
    axes: str
    stages: dict[str, int]

    @abstractmethod
    def forward(self, x: Tree) -> Seen:
        """Look at (N, C, *S) in [0, 1] and return the features of every stage."""

    def advance(self, progress: float) -> None:
        """Take note of the share of all steps that is done, before each of them; NaN where the end is not known.

        For what grows over training, such as drop path. What is changed has to be a tensor that is written in place, or
        recorded kernels keep its first value. Networks inside of this one are told by themselves.
        """


class Task(nn.Module, ABC):
    """An exam: pose a question from unlabelled data, solve it from features, grade the solution.

    The constructor's first argument is the backbone, so that the class is its own factory; a task keeps no reference
    to it. Learnt parts (the head) are ordinary sub-modules, state (queues, prototypes) ordinary buffers.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _beginning(vars(cls)["__init__"]))  # noqa: B010  # mypy refuses a plain assignment

    @abstractmethod
    def pose(self, x: Tree, rng: Generator) -> Puzzle:
        """Make puzzles from `x`, (N, C, *S) in [0, 1], on its device, unchanged; draw everything from `rng`."""

    @abstractmethod
    def solve(self, features: Seen, given: Tree) -> Tree:
        """Answer from the backbone's features (and from what is given) alone."""

    @abstractmethod
    def grade(self, prediction: Tree, answer: Tree) -> Grade:
        """Compare a prediction with the answer."""

    @abstractmethod
    def chance(self) -> Grade:
        """Return the loss and the scores of a blind guess."""

    @abstractmethod
    def draw(self, puzzle: Puzzle, prediction: Tree | None) -> Sequence[Sequence[Panel]]:
        """Draw each puzzle as one row of panels: the question, the answer and, if there is one, the prediction."""

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle | None:
        """Return the puzzle without the relation that it asks about, the task's own control; none: it has none.

        Shapes, the answer and what is given stay; parts of other items take the places of an item's own, or the order
        that is asked about goes. A network that answers such puzzles beyond chance does so by something else than what
        the task is meant to teach. Wants two items or more.
        """
        return None

    def choice_scores(self, prediction: Tree) -> Tensor | None:
        """Return how a prediction scores each answer that may be given, (P, K), the highest of which it gives.

        None: its answer is no choice, such as a picture.
        """
        return None

    def begin(self, epoch: int) -> None:
        """Take note of the epoch, before each training batch; for what changes over epochs, such as a curriculum."""

    def follow(self, backbone: Backbone) -> None:
        """Do what must follow an optimiser step, such as moving a momentum teacher towards `backbone`."""


def _beginning(begin: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor that forgets torch's own say so: torch's words name no task."""

    @wraps(begin)
    def beginning(self: Task, *args: Any, **options: Any) -> None:
        try:
            begin(self, *args, **options)
        except AttributeError as error:
            if "before Module.__init__() call" in str(error):
                raise ValueError(f"{type(self).__name__}: {FORGOTTEN}") from error
            raise
        outermost = getattr(type(self), "__init__") is beginning  # noqa: B009  # mypy refuses a plain look
        if outermost and "_modules" not in vars(self):  # without parts it would fail only later
            raise ValueError(f"{type(self).__name__}: {FORGOTTEN}")

    return beginning


TaskFactory = Callable[[Backbone], Task]
"""What a config names for a task: the class, its backbone still to come."""


def reads_axes(letters: str, backbone: Backbone, asker: object) -> None:
    """Refuse a backbone that lacks one of the input axes `letters`, such as "thw" for clips.

    Raises:
        ValueError: as in `axis`.

    """
    for letter in letters:
        axis(letter, backbone, asker)


def reads_images(backbone: Backbone, asker: object) -> None:
    """Refuse a backbone that does not read images, or reads clips of them.

    Raises:
        ValueError: the message names the asker, what it wanted, what it got and what to do.

    """
    reads_axes("hw", backbone, asker)
    if "t" in backbone.axes:
        raise ValueError(
            f"{type(asker).__name__} asks about images, but {type(backbone).__name__} reads clips ({backbone.axes!r}); "
            "wrap the task in pretext.OnFrames, which shows it frames"
        )


def axis(letter: str, backbone: Backbone, asker: object) -> int:
    """Find the dimension of the input axis `letter` ("h", "w", "t"), counted from the right, so it is negative.

    Raises:
        ValueError: `backbone` has no such axis; the message names the asker, what it wanted and what it got.

    """
    if letter not in backbone.axes:
        what = f"reads {backbone.axes!r}; choose another backbone or another task"
        if not backbone.axes:
            what = "reads several modalities; name one by wrapping the task in pretext.On"
        raise ValueError(
            f"{type(asker).__name__} needs a backbone with an axis {letter!r}, but {type(backbone).__name__} {what}"
        )
    return backbone.axes.index(letter) - len(backbone.axes)
