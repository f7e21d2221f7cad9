"""https://jmlr.org/papers/v11/vincent10a.html (Vincent et al., 2008 and 2010): what was there before the noise?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.decoder import Blind
from pretext.nn.picture_head import PictureHead, blind_guess, picture_errors, picture_rows

Noise = Literal["masking", "gaussian", "salt_and_pepper"]
AMOUNTS = {"masking": 0.25, "gaussian": 0.1, "salt_and_pepper": 0.1}
"""Unless told otherwise: the share of pixels in the paper's first experiments, a deviation, and a share."""


class Denoising(Task):
    """Draw the clean image from the features of a noisy one: where pretext tasks began.

    The backbone sees the noisy image alone. "masking" turns a share of pixels black, all colours of a pixel together,
    or another channel would show what is gone; "gaussian" adds noise of that deviation to each value and keeps it
    within [0, 1]; "salt_and_pepper" turns a share of pixels black or white, with equal odds.

    The loss is the squared error over all pixels in units of that of the batch's mean colour, so that 1 is what knowing
    nothing costs.

    Args:
        backbone: any that reads images.
        noise: which kind.
        amount: share of pixels, or deviation; None: 0.25 masked, 0.1 of the others.
        width: channels of the decoder's widest layer.
        stage: which one is read; the deepest unless given.

    Raises:
        ValueError: the backbone does not read images, has no such stage, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        noise: Noise = "masking",
        amount: float | None = None,
        width: int = 64,
        stage: str | None = None,
    ) -> None:
        super().__init__()
        require(noise in AMOUNTS, self, f"{noise=}", f"choose one of {', '.join(AMOUNTS)}")
        self.head = PictureHead(backbone, 3, width, stage, self)
        self.noise = noise
        self.amount = AMOUNTS[noise] if amount is None else amount
        require(0 < self.amount < 1, self, f"{amount=}", "a share of pixels or a deviation lies between 0 and 1")

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Spoil images (N, 3, H, W); the answer is the images as they were, given a blind guess.

        Raises:
            ValueError: `x` has another shape.

        """
        require_input(x.ndim == 4 and x.shape[1] == 3, self, "images (N, 3, H, W)", x, "crop them first")
        return Puzzle(self._spoil(x, rng), x.clone(), blind_guess(x))

    def _spoil(self, x: Tensor, rng: Generator) -> Tensor:
        if self.noise == "gaussian":
            drawn = torch.randn(x.shape, generator=rng, device=x.device)
            return (x + self.amount * drawn.to(x.dtype)).clamp(0, 1)
        drawn = torch.rand(len(x), 1, *x.shape[-2:], generator=rng, device=x.device)
        spoilt = torch.where(drawn < self.amount, 0.0, x)
        if self.noise == "salt_and_pepper":
            spoilt = torch.where(drawn < self.amount / 2, 1.0, spoilt)
        return spoilt.to(x.dtype)

    def solve(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, 3, H, W), in float32."""
        drawn: Tensor = self.head(features, given)
        return drawn

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return Grade(picture_errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the noisy image, the clean one, and the prediction with its error."""
        return picture_rows(puzzle.question, "what was there before the noise?", puzzle.answer, prediction)

    def extra_repr(self) -> str:
        return f"noise={self.noise!r}, amount={self.amount:g}, stage={self.head.stage!r}"
