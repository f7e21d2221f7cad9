"""Handwritten digits that come with scikit-learn: no download, seconds to train on."""

from __future__ import annotations

from typing import Literal, final

import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from datamodules.base import DataModule, Split
from datamodules.draws import chosen, shuffled
from datamodules.errors import require
from datamodules.images.variants import patches
from datamodules.loader import Memory, Source
from datamodules.options import SPLITTING, Splitting

_TRAIN = 1297  # of 1,797; the other 500 are the test set
_WHITE = 16  # the brightest grey of these pictures
_INK = 0.5  # of white: what counts as the digit where it is laid over noise
_BACKGROUNDS = 0  # seed of the noise behind the digits


@final
class Digits(DataModule):
    """1,797 handwritten digits, 8 x 8 grey, of 43 writers (UCI's test set of Alpaydin and Kaynak, 1998).

    Resized once (bilinear) to `size` x `size` and made RGB, in memory. 1,297 train and 500 test by a permutation that
    is always the same.

    Args:
        size: side of the canvas, pixels.
        batch_size: items per batch and process.
        split: which items are for what; the test set is laid down.
        seed: of the order of training.
        domain: "m": the same digits over patches of noise at several scales, as MNIST-M (Ganin et al., 2016) has them
            over patches of photos: where there is ink, colours are inverted. Which patch an item has is the same for
            every seed.

    """

    shown = ("size",)

    def __init__(
        self,
        size: int = 32,
        batch_size: int = 64,
        split: Splitting = SPLITTING,
        seed: int = 0,
        domain: Literal["plain", "m"] = "plain",
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        require(self, size >= 1, f"size={size}", "at least 1")
        require(self, domain in ("plain", "m"), f"domain={domain!r}", '"plain" or "m"')
        self.size, self.domain = size, domain

    @property
    def classes(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def open(self, split: Split) -> Source:
        digits = load_digits()
        order = shuffled(len(digits.images), "digits")
        items = (order[:_TRAIN] if split == "train" else order[_TRAIN:]).sort().values
        if split == "train":
            items = items[chosen(len(items), self.limit)]
        grey = torch.from_numpy(digits.images).float()[items, None] * (255 / _WHITE)
        grey = interpolate(grey, (self.size, self.size), mode="bilinear")
        if self.domain == "m":
            x = _over_noise(grey / 255, items, len(order))
        else:
            x = grey.round().to(torch.uint8).repeat(1, 3, 1, 1)
        return Memory(x, torch.from_numpy(digits.target).long()[items])


def _over_noise(grey: Tensor, items: Tensor, count: int) -> Tensor:
    """Lay digits (N, 1, S, S) in [0, 1] over noise, |ink - noise|: (N, 3, S, S) uint8.

    `items` (N,) says which of the `count` digits they are, and so what noise each one has.
    """
    noise = patches(count, grey.shape[-1], Generator().manual_seed(_BACKGROUNDS))[items]
    ink = (grey > _INK).float()
    return ((ink - noise).abs() * 255).round().to(torch.uint8)
