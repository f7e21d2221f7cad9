"""https://doi.org/10.1126/science.1127647 (Hinton and Salakhutdinov, Science 2006): what does the image look like?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.decoder import Blind
from pretext.nn.picture_head import PictureHead, blind_guess, picture_errors, picture_rows
from pretext.ops.resample import resample


class Autoencoding(Task):
    """Draw the image from the features of the same image: what fits through the bottleneck?

    The loss is the squared error in units of that of the batch's mean colour, so that 1 is what knowing nothing costs.
    Nothing is hidden, so a backbone whose deepest stage holds all pixels can pass them on and need not learn anything:
    read a narrow stage, and compare with `Denoising`.

    Args:
        backbone: any that reads images.
        shrink: by how much the answer's sides are smaller than the image's.
        width: channels of the decoder's widest layer.
        stage: which one is read; the deepest unless given.

    Raises:
        ValueError: the backbone does not read images, has no such stage, or an argument is out of its range.

    """

    def __init__(self, backbone: Backbone, shrink: int = 1, width: int = 64, stage: str | None = None) -> None:
        super().__init__()
        self.head = PictureHead(backbone, 3, width, stage, self)
        require(shrink >= 1, self, f"{shrink=}", "take 1 to ask for the whole image, or more")
        self.shrink = shrink

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask for images (N, 3, H, W); the answer is (N, 3, H/shrink, W/shrink), given a blind guess.

        Raises:
            ValueError: `x` has another shape, or sides that `shrink` does not divide.

        """
        fits = x.ndim == 4 and x.shape[1] == 3 and not any(side % self.shrink for side in x.shape[-2:])
        require_input(fits, self, f"images (N, 3, H, W) whose sides {self.shrink} divides", x, "crop them, or shrink=1")
        height, width = (side // self.shrink for side in x.shape[-2:])
        answer = x.clone() if self.shrink == 1 else resample(x, height, width, "area")
        return Puzzle(x.clone(), answer, blind_guess(answer))

    def solve(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, 3, H/shrink, W/shrink), in float32."""
        drawn: Tensor = self.head(features, given)
        return drawn

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return Grade(picture_errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the image, the answer, and the prediction with its error."""
        return picture_rows(puzzle.question, "what does it look like?", puzzle.answer, prediction)

    def extra_repr(self) -> str:
        return f"shrink={self.shrink}, stage={self.head.stage!r}"
