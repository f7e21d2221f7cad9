"""https://arxiv.org/abs/2106.05258 (Jahanian et al.: GenRep, ICLR 2022): positive pairs from a generator's latents."""

from __future__ import annotations

from typing import Literal, Self, cast

import torch
from torch import Generator, Tensor, nn

from pretext.core.built import Built
from pretext.core.errors import require
from pretext.views.augment import Augment
from pretext.views.latent.generator import InvertibleGenerator, LatentGenerator, decoded

Anchors = Literal["drawn", "encoded"]


class LatentViews(Built, nn.Module):
    """Make two views of each item by a generator: a picture, and that of a neighbour in latent space.

    The anchor is z = truncation * a draw of the generator's law, the neighbour z + std * another draw (T_z of the
    paper). With `pixels`, each view is then augmented apart (T_x). So `std` alone is T_z, `std=0` with `pixels` is T_x,
    and both are both. The pictures that were loaded do not count, unless they are `encoded`: they say how many views
    are made, and where.

    Args:
        generator: makes pictures of latents; a module is never trained here.
        std: the step, in draws of the law; 0: the neighbour is the anchor. The paper takes 0.2 without classes and 1
            with them.
        truncation: of the anchor, in draws of the law; the paper takes 2 with BigBiGAN.
        pixels: augments each view apart; none: the pictures as they come.
        kept: so many of the first latents are the same in both views, such as a class that is given.
        anchors: "drawn" by the generator, or "encoded": the latents of the loaded pictures, by a generator that has
            `encode`.

    Raises:
        ValueError: an argument is out of its range, or the generator cannot encode.

    """

    def __init__(
        self,
        generator: LatentGenerator,
        std: float = 0.2,
        truncation: float = 1.0,
        pixels: Augment | None = None,
        kept: int = 0,
        anchors: Anchors = "drawn",
    ) -> None:
        super().__init__()
        require(std >= 0, self, f"{std=}", "give 0 or more")
        require(truncation > 0, self, f"{truncation=}", "give a positive one, such as 1")
        require(kept >= 0, self, f"{kept=}", "give 0 or more latents")
        require(anchors in ("drawn", "encoded"), self, f"{anchors=}", 'give "drawn" or "encoded"')
        name = type(generator).__name__
        inverts = anchors == "drawn" or isinstance(generator, InvertibleGenerator)
        require(inverts, self, f"{anchors=}, but {name} has no `encode`", 'give "drawn", or another generator')
        self.generator, self._looked = generator, False
        if isinstance(generator, nn.Module):
            generator.eval().requires_grad_(False)
        self.std, self.truncation, self.pixels, self.kept, self.anchors = std, truncation, pixels, kept, anchors

    @torch.no_grad()
    def forward(self, x: Tensor, rng: Generator) -> Tensor:
        """Make the views (2 N, 3, h, w) in [0, 1], those of an item one after the other.

        Args:
            x: pictures (2 N, 3, H, W), each item's twice.
            rng: on their device, the only source of chance.

        Raises:
            ValueError: the generator makes something else than pictures in [0, 1], such as NaN, or has no more latents
                than are kept.

        """
        anchor = self._anchors(x, rng)
        step = self.std * self._drawn(len(anchor), rng)
        wide = f"kept={self.kept} of {step.shape[1]} latents"
        require(self.kept < step.shape[1], self, wide, "keep fewer, or nothing moves")
        step[:, : self.kept] = 0
        look = not self._looked or anchor.device.type == "cpu"  # else each step would wait for the device
        self._looked = True
        first = decoded(self.generator, anchor, look)
        other = decoded(self.generator, anchor + step, look) if self.std else first
        views = torch.stack((first, other), 1).flatten(0, 1)
        return views if self.pixels is None else cast(Tensor, self.pixels(views.float(), rng))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if isinstance(self.generator, nn.Module):
            self.generator.eval()
        return self

    def extra_repr(self) -> str:
        kept = f", kept={self.kept}" if self.kept else ""
        pixels = "none" if self.pixels is None else self.pixels.extra_repr()
        latents = f"std={self.std}, truncation={self.truncation}{kept}, anchors={self.anchors}"
        return f"{type(self.generator).__name__}, {latents}, pixels: {pixels}"

    def _anchors(self, x: Tensor, rng: Generator) -> Tensor:
        if self.anchors == "encoded":
            return cast(InvertibleGenerator, self.generator).encode(x[::2])
        return self.truncation * self._drawn(len(x) // 2, rng)

    def _drawn(self, count: int, rng: Generator) -> Tensor:
        return self.generator.sample(count, rng)
