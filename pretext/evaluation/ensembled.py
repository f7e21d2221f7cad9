"""https://arxiv.org/abs/2104.14551 (Chai et al., CVPR 2021): generated views at test time, averaged."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pretext.core.errors import require
from pretext.core.rng import rng
from pretext.evaluation.embed import View
from pretext.views.latent.generator import InvertibleGenerator, decoded


class GeneratedViews(NamedTuple):
    """Views of a test picture that a generator draws near it: features of all and of the picture are averaged.

    For a linear classifier the average of features is that of what is said of each view.
    """

    generator: InvertibleGenerator
    views: int = 4
    """How many views, beside the picture itself."""
    std: float = 0.2
    """Of the step from the picture's latents, in draws of the generator's law."""
    name: str = "a generator"
    """What to call the generator in results."""

    def check(self) -> None:
        """Refuse what cannot make views.

        Raises:
            ValueError: the generator cannot encode, or a number is out of its range.

        """
        got = f"views={self.views}, std={self.std}"
        require(self.views >= 1 and self.std >= 0, self, got, "give at least 1 view, and 0 or more")
        said = f"{type(self.generator).__name__} without `encode`"
        require(isinstance(self.generator, InvertibleGenerator), self, said, "give one that finds a picture's latents")

    @property
    def words(self) -> str:
        """Say what is added to the test pictures."""
        return f"averaged with {self.views} views of {self.name} at std {self.std:g}"

    def around(self, plain: View) -> View:
        """Let a view show pictures (N, 3, S, S) and, after each, its generated views: (N (1 + views), 3, S, S)."""

        @torch.no_grad()
        def shown(x: Tensor) -> Tensor:
            pictures = plain(x)
            latents = self.generator.encode(pictures)
            rows = [pictures]
            for k in range(self.views):
                step = self.generator.sample(len(latents), rng(latents.device, "generated views", k))
                near = decoded(self.generator, latents + self.std * step)
                rows.append(functional.interpolate(near, pictures.shape[-2:], mode="bilinear", antialias=True))
            return torch.stack(rows, 1).flatten(0, 1)

        return shown
