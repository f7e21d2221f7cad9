"""https://arxiv.org/abs/1803.07728 (Gidaris, Singh, Komodakis: RotNet, ICLR 2018): which way is up?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import choices, film_strip, panels
from pretext.ops.geometric import drawable
from pretext.ops.temporal import is_flow, random_clip
from pretext.ops.turns import TURNS, turn, turn_each


class Rotation(Task):
    """Tell by how many quarter turns an image, or a clip, was turned counter-clockwise.

    As in the authors' code all four turns of each image are in the batch, so that N images are 4 N questions, image by
    image; `turns="one"` draws a single turn per image instead (VISSL's way, a quarter of the cost per image).

    On a network for clips all frames of a clip are turned alike. Of flow (two channels) the arrows turn with the
    picture, so that the flow of a turned clip is what is asked about, not a field that no motion makes.

    The head is one linear layer on the pooled features, as in the paper. It adds no capacity of its own, so the
    backbone has to learn whatever it takes to see orientation.

    Args:
        backbone: reads images or clips.
        turns: "all" four of each image, or "one" at random.
        frames: of clips, how many a question has, from anywhere in the window; none: the whole window.

    Raises:
        ValueError: the backbone reads neither, `turns` is neither "all" nor "one", or `frames` is below 1 or of images.

    """

    def __init__(self, backbone: Backbone, turns: Literal["all", "one"] = "all", frames: int | None = None) -> None:
        super().__init__()
        reads_axes("hw", backbone, self)
        self.turns, self.frames, self.clips = turns, frames, "t" in backbone.axes
        require(turns in ("all", "one"), self, f"{turns=}", 'choose "all" four of each image, or "one" at random')
        fits = frames is None or (frames > 0 and self.clips)
        require(fits, self, f"{frames=}", "give at least 1, or none for the whole window; images have none")
        self.head = small(nn.Linear(backbone.dim, TURNS))

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Turn images (N, 3, S, S) or clips (N, C, W, S, S): a question of 4 N, or of N for one turn each, and labels.

        Raises:
            ValueError: `x` is not square, where padding or squashing would give the turn away, or has too few frames.

        """
        wanted = "square clips (N, C, W, S, S)" if self.clips else "square images (N, 3, S, S)"
        how = "crop them to a square first (Augment's crop, or the data module's canvas), or wrap the task in OnFrames"
        require_input(x.ndim == (5 if self.clips else 4) and x.shape[-1] == x.shape[-2], self, wanted, x, how)
        x = x if self.frames is None else random_clip(self, x, self.frames, rng)
        if self.turns == "all":
            every = torch.stack([turn(x, k, is_flow(x)) for k in range(TURNS)], dim=1)  # (N, 4, C, ..., S, S)
            return Puzzle(every.flatten(0, 1), torch.arange(TURNS, device=x.device).repeat(len(x)))
        labels = torch.randint(TURNS, (len(x),), generator=rng, device=x.device)
        return Puzzle(turn_each(x, labels, is_flow(x)), labels)

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits over the four turns."""
        logits: Tensor = self.head(features.pooled)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def choice_scores(self, prediction: Tensor) -> Tensor:
        return prediction

    def chance(self) -> Grade:
        return blind_guess(TURNS)

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the turned image, the upright one, and the image as the prediction would put it upright."""
        x, show = puzzle.question, film_strip if self.clips else drawable
        asked = panels(map(show, x), "which way is up?")
        return choices(
            asked, puzzle, prediction, lambda i, k: show(turn(x[i], -k, is_flow(x))), lambda k: f"turned {90 * k}°"
        )

    def extra_repr(self) -> str:
        return f"turns={self.turns!r}, frames={self.frames}"
