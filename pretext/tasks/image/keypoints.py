"""https://arxiv.org/abs/1804.08328 (Zamir et al.: Taskonomy, CVPR 2018), its task "2D keypoints": where are corners?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.decoder import Blind
from pretext.nn.picture_head import PictureHead, blind_guess, picture_errors, picture_rows
from pretext.ops.structure import corner_strength


class Keypoints(Task):
    """Draw how much of a corner each pixel is, from the features of the image.

    The answer is the root of the smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), in the unit of a
    slope of brightness: 0 on flat areas and along straight edges. Taskonomy takes SURF's response
    instead. It is computed from the very image that the backbone sees, so nothing has to be guessed.

    The loss is the squared error in units of that of the batch's mean, so that 1 is what knowing nothing costs.

    Args:
        backbone: any that reads images.
        sigma: of the blur before slopes are taken, in pixels.
        window: deviation of the window that a corner is looked for in, in pixels.
        width: channels of the decoder's widest layer.
        stage: which one is read; the deepest unless given.

    Raises:
        ValueError: the backbone does not read images, has no such stage, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        sigma: float = 1.0,
        window: float = 2.0,
        width: int = 64,
        stage: str | None = None,
    ) -> None:
        super().__init__()
        self.head = PictureHead(backbone, 1, width, stage, self)
        require(
            sigma >= 0 and window > 0,
            self,
            f"{sigma=}, {window=}",
            "a blur is 0 pixels or more wide, a window more than 0",
        )
        self.sigma, self.window = sigma, window

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask for the corners of images (N, 3, H, W); the answer is (N, 1, H, W), given a blind guess.

        Raises:
            ValueError: `x` has another shape.

        """
        require_input(x.ndim == 4 and x.shape[1] == 3, self, "images (N, 3, H, W)", x, "crop them first")
        answer = corner_strength(x, self.sigma, self.window).to(x.dtype)
        return Puzzle(x.clone(), answer, blind_guess(answer))

    def solve(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, 1, H, W), in float32."""
        drawn: Tensor = self.head(features, given)
        return drawn

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return Grade(picture_errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the image, the answer with its largest value in white, and the prediction with its error."""
        return picture_rows(puzzle.question, "where are its corners?", puzzle.answer, prediction, scale=True)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}, window={self.window:g}, stage={self.head.stage!r}"
