"""https://arxiv.org/abs/1312.6114 (Kingma and Welling: VAE, ICLR 2014): which few numbers tell what it looks like?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core import ranks
from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.decoder import Decoder, stage_of
from pretext.nn.heads import small
from pretext.nn.picture_head import picture_errors, picture_rows
from pretext.ops.drawing import panels
from pretext.ops.geometric import drawable
from pretext.ops.resample import resample
from pretext.views.latent.generator import truncated_normal

_GRID = 4  # cells a side of what is read, and of what the decoder begins with
_LOUDEST = 8.0  # of a logarithm of a variance: beyond it nothing can be told, and exp would overflow in half precision


class Drawn(NamedTuple):
    """What is said of N pictures."""

    picture: Tensor
    """(N, 3, size, size) in [0, 1]."""
    mean: Tensor
    """(N, D), of the latents."""
    log_variance: Tensor
    """(N, D)."""


class VAE(Task):
    """Tell an image by a few normal numbers, and draw it from them: a variational autoencoder, which then generates.

    The loss is the negative evidence bound, less what is constant, in units of a blind guess: the squared error in
    units of that of the batch's mean colour, and 2 noise / (3 size^2) for each nat by which the latents' law differs
    from the normal one. Both come from pixels that are normal about what is drawn, with `noise` of the variance of the
    batch. Unless it is given, the noise is as large as the batch's error, which is likeliest (sigma-VAE,
    https://arxiv.org/abs/2006.13202): the gradient is then that of 3 size^2 / 2 ln(error) + nats, scaled. At
    initialisation grey is drawn, which costs a little more than the mean colour.

    It is a `LatentGenerator` itself: `sample` draws latents, `decode` makes pictures, and `encode` finds latents in a
    backbone's features. `TrainedGenerator` takes it, and the backbone, out of a run.

    Args:
        backbone: any that reads images; its deepest stage is read on a grid of 4 x 4.
        latents: how many numbers.
        size: side of what is drawn, pixels; images of another size are averaged down or enlarged to it.
        width: channels of the decoder's widest layer.
        noise: share of the pixels' variance that is not drawn; none: that of the error. Below the error, pictures of
            known latents are a little finer, and the latents' law is further from the one that new ones are drawn from.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    def __init__(
        self, backbone: Backbone, latents: int = 32, size: int = 32, width: int = 64, noise: float | None = None
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        require(min(latents, size) >= 1, self, f"{latents=}, {size=}", "give at least 1 of each")
        require(noise is None or 0 < noise <= 1, self, f"{noise=}", "give a share above 0, at most 1, or none")
        require(width >= 4, self, f"{width=}", "a quarter of it is left after the last layers: take 4 or more")
        self.latents, self.size, self.noise = latents, size, noise
        self.stage, depth = stage_of(backbone, None, self)
        self.reader = small(nn.Linear(depth * _GRID**2, 2 * latents))
        self.opener = nn.Linear(latents, width * _GRID**2)
        self.decoder = Decoder(width, 3, width, places=1)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask for images (N, 3, S, S); the answer is (N, 3, size, size), given the chance (N, D) of the latents.

        Raises:
            ValueError: `x` has another shape.

        """
        fits = x.ndim == 4 and x.shape[1] == 3 and x.shape[2] == x.shape[3]
        require_input(fits, self, "square images (N, 3, S, S)", x, "crop them")
        answer = x.clone() if x.shape[2] == self.size else resample(x, self.size, self.size, "area")
        noise = torch.randn(len(x), self.latents, generator=rng, device=x.device)
        return Puzzle(x.clone(), answer.to(x.dtype), noise.to(x.dtype))

    def solve(self, features: Features, given: Tensor) -> Drawn:
        """Find the latents' law, draw latents from it and a picture from them, all in float32."""
        mean, log_variance = self._law(features)
        latents = mean + (log_variance / 2).exp() * given.float()
        return Drawn(self.decode(latents), mean, log_variance)

    def grade(self, prediction: Drawn, answer: Tensor) -> Grade:
        """Score the loss, `error` in units of a blind guess, and `nats`: how many the latents hold of an image."""
        picture, mean, log_variance = prediction
        error = picture_errors(picture, answer).mean()
        nats = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
        noise = ranks.mean(error.detach()) if self.noise is None else self.noise
        price = 2 * noise / (3 * self.size**2)
        return Grade(error + price * nats, {"error": error.detach(), "nats": nats.detach()})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {"error": torch.tensor(1.0), "nats": torch.tensor(0.0)})

    def draw(self, puzzle: Puzzle, prediction: Drawn | None) -> list[list[Panel]]:
        """Draw the image, the answer, the prediction with its error, and a picture that is drawn from chance alone."""
        picture = None if prediction is None else prediction.picture
        found = picture_rows(puzzle.question, "what does it look like?", puzzle.answer, picture)
        if prediction is None:
            return found
        new = panels(drawable(self.decode(puzzle.given)), "drawn from chance alone")
        return [[*row, panel] for row, panel in zip(found, new, strict=True)]

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, D) from the normal law between -2 and 2."""
        return truncated_normal(count, self.latents, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Draw pictures (N, 3, size, size) in [0, 1], float32."""
        cells = self.features(latents).view(len(latents), -1, _GRID, _GRID)
        picture: Tensor = self.decoder(cells, 1, self.size, self.size)
        return picture.squeeze(2).float().sigmoid()

    def features(self, latents: Tensor) -> Tensor:
        """Tell what the decoder begins with, (N, 16 width): by it, classes of pictures can be read out."""
        return functional.relu(self.opener(latents.to(self.opener.weight.dtype)))

    def encode(self, features: Features) -> Tensor:
        """Find the latents (N, D) that are likeliest, of a backbone's features."""
        return self._law(features)[0]

    def extra_repr(self) -> str:
        return f"latents={self.latents}, size={self.size}, noise={'the error' if self.noise is None else self.noise}"

    def _law(self, features: Features) -> tuple[Tensor, Tensor]:
        cells = functional.adaptive_avg_pool2d(features.stages[self.stage], _GRID).flatten(1)
        mean, log_variance = self.reader(cells).float().chunk(2, 1)
        return mean, _LOUDEST * (log_variance / _LOUDEST).tanh()
