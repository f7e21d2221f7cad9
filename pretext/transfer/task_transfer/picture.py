"""Tasks whose answers are pictures, with one kind of head for all: so their networks have the same shape."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from pretext.backbones.split import Split, colour_of, lightness_of
from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, TaskFactory
from pretext.nn.decoder import Blind
from pretext.nn.picture_head import PictureHead, blind_guess, picture_rows
from pretext.ops.lab import rgb_to_lab

CHANNELS = 3
"""Of every picture; one of fewer repeats its first."""
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "question": lambda question: question,
    "light": lambda question: lightness_of(rgb_to_lab(question)).to(question.dtype),
    "colour": lambda question: colour_of(rgb_to_lab(question)).to(question.dtype),
}
"""What the encoder is shown: the task's own question, or what one half of a split-brain sees of it."""


class PictureTask(Task):
    """Another task's questions and answers, drawn by a head that is the same for all tasks.

    The loss is the squared error in units of that of the batch's mean, where the task asks (in the hole of an
    inpainting, elsewhere everywhere). As in all these tasks, mean and deviation of the answers are given.

    Args:
        backbone: any that reads images.
        task: whose answer is a picture of 1 to 3 channels, or a tuple that has one.
        width: channels of the head's widest layer.
        sees: one of `VIEWS`.
        part: which one of a tuple is the picture.

    Raises:
        ValueError: as `PictureHead`, an unknown view, or what the task itself refuses.

    """

    def __init__(
        self, backbone: Backbone, task: TaskFactory, width: int = 16, sees: str = "question", part: int = 0
    ) -> None:
        super().__init__()
        require(sees in VIEWS, self, f"{sees=}", f"choose one of {', '.join(VIEWS)}")
        self.head = PictureHead(backbone, CHANNELS, width, None, self)
        self.sees, self.part = sees, part
        whole = backbone if sees == "question" else Split(lambda: copy.deepcopy(backbone))
        self.asker = (task(whole),)  # in a tuple, so that its own head is no part of this network

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask what the task asks; the answer is a picture (N, 3, h, w) and where it counts, (N, 1, h, w) or None.

        Raises:
            ValueError: the task asks about something else, or wants no picture.

        """
        question, answer, _ = self.asker[0].to(x.device).pose(x, rng)
        named = type(self.asker[0]).__name__
        is_picture = isinstance(question, Tensor) and question.ndim == 4 and question.shape[1] == CHANNELS
        require(is_picture, self, f"{named} shows something else", "it wants questions (N, 3, H, W)")
        picture = answer if isinstance(answer, Tensor) else answer[self.part]
        fits = isinstance(picture, Tensor) and picture.ndim == 4 and 1 <= picture.shape[1] <= CHANNELS
        require(fits, self, f"{named} wants something else", "its answer must be a picture of 1 to 3 channels")
        picture = picture[:, [k % picture.shape[1] for k in range(CHANNELS)]]
        weights = getattr(answer, "weights", None)
        return Puzzle(VIEWS[self.sees](question), (picture, weights), blind_guess(picture))

    def solve(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, 3, h, w), in float32."""
        drawn: Tensor = self.head(features, given)
        return drawn

    def errors(self, prediction: Tensor, answer: tuple[Tensor, Tensor | None]) -> Tensor:
        """Grade each item: (N,), of which the mean is 1 where nothing is known."""
        picture, weights = answer
        variance = blind_guess(picture.float()).deviation.squeeze(2).square()
        off = (prediction - picture.float()).square() / variance
        if weights is None:
            return off.flatten(1).mean(1)
        counted = weights.float().expand_as(off).flatten(1)
        return (off.flatten(1) * counted).sum(1) / counted.sum(1).clamp(min=1e-6)

    def grade(self, prediction: Tensor, answer: tuple[Tensor, Tensor | None]) -> Grade:
        return Grade(self.errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> Sequence[Sequence[Panel]]:
        """Draw the question, the answer, and the prediction with its error."""
        return picture_rows(puzzle.question, f"{type(self.asker[0]).__name__}?", puzzle.answer[0], prediction, True)


class Network(nn.Module):
    """An encoder and what answers from its features; the names of its weights begin with "encoder." and "task."."""

    def __init__(self, encoder: Backbone, task: Task) -> None:
        super().__init__()
        self.encoder, self.task = encoder, task

    def forward(self, x: Tensor, rng: Generator) -> Tensor:
        """Grade pictures (N, 3, H, W) in [0, 1]: ()."""
        prediction, answer = self._answered(x, rng)
        return self.task.grade(prediction, answer).loss

    def losses(self, x: Tensor, rng: Generator) -> Tensor:
        """Grade each of them: (N,). Other tasks than a `PictureTask` grade an item as a batch of its own."""
        if isinstance(self.task, PictureTask):
            return self.task.errors(*self._answered(x, rng))
        return torch.stack([self(one[None], rng) for one in x])

    def _answered(self, x: Tensor, rng: Generator) -> tuple[Any, Any]:
        question, answer, given = self.task.pose(x, rng)
        return self.task.solve(self.encoder(question), given), answer
