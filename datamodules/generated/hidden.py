"""Handwritten digits hidden in clutter: no download, many pictures, and pixels alone tell little."""

from __future__ import annotations

from typing import final

import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from datamodules.base import DataModule, Split
from datamodules.draws import chosen, shuffled, uniform
from datamodules.errors import require
from datamodules.loader import Memory, Source
from datamodules.options import SPLITTING, Splitting

_TRAIN = 1297  # of the 1,797 digits, as in `Digits`; the others are in test pictures alone
_WHITE = 16  # the brightest grey of these digits
_SCALES = ((2, 1.0), (4, 0.7), (8, 0.45), (16, 0.25))  # of the clutter: cells along a side, and how strong they are
_GREY, _COLOUR, _STRONG = 0.6, 0.5, 0.16  # shares of a scale's noise, and how strong all of it is
_SIDES = 0.44, 0.75  # of a digit, shares of the picture's side
_APART, _FREE = 0.45, 0.3  # of a digit's colour: from the mean below it, and what is left to chance
_AT_ONCE = 1000  # pictures that are made together


@final
class HiddenDigits(DataModule):
    """One of scikit-learn's 1,797 handwritten digits somewhere in each picture, in any colour and size, among clutter.

    The clutter is coloured noise of several scales, as photos have it, and has neither an upper side nor a class. A
    digit's colour stands off from what lies below it, lighter or darker. So neither place nor brightness tells the
    class; shape does. Made in memory, within seconds. Digits of test pictures are in no training picture.

    Args:
        size: side of the canvas, pixels.
        train_items: how many training pictures are made.
        test_items: how many test pictures.
        content: another number makes other pictures.
        batch_size: items per batch and process.
        split: which items are for what; the test set is laid down.
        seed: of the order of training.

    """

    shown = ("size",)

    def __init__(
        self,
        size: int = 32,
        train_items: int = 8000,
        test_items: int = 1000,
        content: int = 0,
        batch_size: int = 64,
        split: Splitting = SPLITTING,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        require(self, size >= 8, f"size={size}", "at least 8")
        require(self, min(train_items, test_items) >= 1, f"{train_items=}, {test_items=}", "at least 1 of each")
        require(self, content >= 0, f"content={content}", "0 or more")
        self.size, self.content = size, content
        self.items = {"train": train_items, "test": test_items}

    @property
    def classes(self) -> list[str]:
        return [str(digit) for digit in range(10)]

    def open(self, split: Split) -> Source:
        digits = load_digits()
        order = shuffled(len(digits.images), "digits")
        own = order[:_TRAIN] if split == "train" else order[_TRAIN:]
        grey = torch.from_numpy(digits.images).float()[own] / _WHITE
        labels = torch.from_numpy(digits.target).long()[own]
        made = [self._part(split, start, grey, labels) for start in range(0, self.items[split], _AT_ONCE)]
        x, y = (torch.cat(parts)[: self.items[split]] for parts in zip(*made, strict=True))
        items = chosen(len(x), self.limit) if split == "train" else torch.arange(len(x))
        return Memory(x[items], y[items])

    def _part(self, split: Split, start: int, grey: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Make so many pictures, always whole parts, so that their number changes none of them."""
        key = uniform("hidden digits", self.content, split, start)
        chance = Generator().manual_seed(int(key * 2**53))
        which = torch.randint(len(grey), (_AT_ONCE,), generator=chance)
        x = hidden(grey[which], clutter(_AT_ONCE, self.size, chance), chance)
        return (x * 255).round().to(torch.uint8), labels[which]


def clutter(count: int, size: int, chance: Generator) -> Tensor:
    """Make coloured noise of several scales (N, 3, S, S) in [0, 1]."""
    x = torch.full((count, 3, size, size), 0.5)
    for cells, weight in _SCALES:
        colour = torch.randn(count, 3, cells, cells, generator=chance)
        grey = torch.randn(count, 1, cells, cells, generator=chance)
        noise = interpolate(_GREY * grey + _COLOUR * colour, (size, size), mode="bicubic")
        x += _STRONG * weight * noise
    return x.clamp(0, 1)


def hidden(digits: Tensor, behind: Tensor, chance: Generator) -> Tensor:
    """Put a digit (N, 8, 8) in [0, 1] somewhere into each picture (N, 3, S, S), all of it visible."""
    count = len(digits)
    low, high = _SIDES
    side = low + (high - low) * torch.rand(count, 1, generator=chance)
    centre = (2 * torch.rand(count, 2, generator=chance) - 1) * (1 - side)
    turn = torch.eye(2).expand(count, 2, 2) / side[:, :, None]
    grid = affine_grid(torch.cat((turn, -(centre / side)[:, :, None]), 2), [count, 1, *behind.shape[2:]], False)
    mask = grid_sample(digits[:, None], grid, align_corners=False).clamp(0, 1)
    below = (behind * mask).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1e-6)
    colour = below + torch.where(below > 0.5, -_APART, _APART)
    colour = (colour + _FREE * (torch.rand(count, 3, generator=chance) - 0.5)).clamp(0, 1)
    return behind * (1 - mask) + colour[:, :, None, None] * mask
