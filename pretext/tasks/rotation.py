"""https://arxiv.org/abs/1803.07728 (Gidaris, Singh, Komodakis: RotNet, ICLR 2018): which way is up?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.losses import blind_guess, cross_entropy
from pretext.moves import picture, quarter_turn
from pretext.types import Backbone, Features, Grade, Panel, Puzzle, Task, axis

TURNS = 4  # quarter turns need no interpolation, which would leave traces to read instead of the content


class Rotation(Task):
    """Tell by how many quarter turns an image was turned counter-clockwise.

    As in the authors' code all four turns of each image are in the batch, so that N images are 4 N questions, image by
    image; `turns="one"` draws a single turn per image instead (VISSL's way, a quarter of the cost per image).

    The head is one linear layer on the pooled features, as in the paper: it adds no capacity of its own, so whatever
    orientation takes to see has to be learnt by the backbone.

    Raises:
        ValueError: the backbone does not read images, or `turns` is neither "all" nor "one".

    """

    def __init__(self, backbone: Backbone, turns: Literal["all", "one"] = "all") -> None:
        super().__init__()
        for letter in "hw":
            axis(letter, backbone, self)
        if turns not in ("all", "one"):
            raise ValueError(f'Rotation: turns is {turns!r}; choose "all" four of each image, or "one" at random')
        self.turns = turns
        self.head = nn.Linear(backbone.dim, TURNS)
        nn.init.normal_(self.head.weight, std=0.01)  # starts at a blind guess
        nn.init.zeros_(self.head.bias)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Turn images (N, 3, S, S): a question (4 N, 3, S, S), or (N, 3, S, S) for one turn each, and its labels.

        Raises:
            ValueError: `x` is not square, where padding or squashing would give the turn away.

        """
        if x.ndim != 4 or x.shape[-1] != x.shape[-2]:
            raise ValueError(
                f"Rotation wants square images (N, 3, S, S), got {tuple(x.shape)}; "
                "crop them to a square first (Augment's crop, or the data module's canvas)"
            )
        if self.turns == "all":
            every = torch.stack([quarter_turn(x, k) for k in range(TURNS)], dim=1)  # (N, 4, 3, S, S)
            return Puzzle(every.flatten(0, 1), torch.arange(TURNS, device=x.device).repeat(len(x)))
        labels = torch.randint(TURNS, (len(x),), generator=rng, device=x.device)
        return Puzzle(_turn_each(x, labels), labels)

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits over the four turns."""
        logits: Tensor = self.head(features.pooled)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(TURNS)

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the turned image, the upright one, and the image as the prediction would put it upright."""
        guesses = [None] * len(puzzle.answer) if prediction is None else prediction.argmax(1).tolist()
        rows = []
        for image, turn, guess in zip(puzzle.question, puzzle.answer.tolist(), guesses, strict=True):
            turned = picture(image)
            row = [
                Panel(turned, "which way is up?"),
                Panel(quarter_turn(turned, -turn), f"answer: turned {90 * turn}°"),
            ]
            if guess is not None:
                undone = quarter_turn(turned, -guess)
                row.append(Panel(undone, f"prediction: turned {90 * guess}°", guess == turn))
            rows.append(row)
        return rows


def _turn_each(x: Tensor, turns: Tensor) -> Tensor:
    """Turn every image (N, C, S, S) by its own number of quarter turns (N,), in one gather."""
    side = x.shape[-1]
    upright = torch.arange(side * side, device=x.device).view(side, side)
    sources = torch.stack([quarter_turn(upright, k).flatten() for k in range(TURNS)])  # where each pixel comes from
    pixels = x.flatten(2)
    return pixels.gather(2, sources[turns].unsqueeze(1).expand_as(pixels)).view(x.shape)
