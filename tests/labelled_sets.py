"""Small labelled data that can be learnt: any tensors as a data module."""

import torch

from datamodules.base import DataModule, chosen
from datamodules.loader import Memory
from pretext.core.rng import rng


class Labelled(DataModule):
    """`train` and `test` are pairs of x and y, held in memory."""

    def __init__(self, train, test, classes=(), batch_size=16, val=0.25, limit=None, seed=0):
        super().__init__(batch_size, val, limit, seed)
        self.sets = {"train": train, "test": test}
        self.names = [str(name) for name in classes]

    @property
    def classes(self):
        return self.names

    def open(self, split):
        x, y = self.sets[split]
        items = chosen(len(x), self.limit) if split == "train" else torch.arange(len(x))
        return Memory(x[items], y[items])


def colours(count, key=0, side=8):
    """Noise with a patch of some of red, green and blue: uint8 (N, 3, S, S) and int8 (N, 3), one in ten not judged."""
    chance = rng("cpu", "colours", key)
    present = torch.rand(count, 3, generator=chance) < 0.4
    x = torch.rand(count, 3, side, side, generator=chance) * 0.4
    rows = torch.randint(side - 3, (count, 3), generator=chance)
    for i, colour in present.nonzero().tolist():
        x[i, colour, rows[i, colour] : rows[i, colour] + 3, 2:6] += 0.6
    y = present.to(torch.int8)
    y[torch.rand(count, 3, generator=chance) < 0.1] = -1
    return (x * 255).to(torch.uint8), y


def directions(count, key=0, frames=6, side=8):
    """A bright bar that moves right or left over time, both starting anywhere: uint8 (N, 3, T, S, S), int64 (N,)."""
    chance = rng("cpu", "directions", key)
    y = torch.randint(2, (count,), generator=chance)
    start = torch.randint(side, (count, 1), generator=chance)
    at = (start + torch.where(y == 0, 1, -1)[:, None] * torch.arange(frames)) % side  # (N, T)
    bar = torch.nn.functional.one_hot(at, side)[:, None, :, None, :].expand(-1, 3, -1, side, -1)
    noise = torch.rand(count, 3, frames, side, side, generator=chance) * 60
    return (bar * 180 + noise).to(torch.uint8), y


def tones(count, key=0, length=256):
    """Sines of a slow or a fast pitch, of random phase: int16 (N, 1, L), int64 (N,)."""
    chance = rng("cpu", "tones", key)
    y = torch.randint(2, (count,), generator=chance)
    phase = torch.rand(count, 1, generator=chance) * 6.28
    wave = torch.sin(torch.where(y == 0, 0.2, 0.8)[:, None] * torch.arange(length) + phase)
    return (wave[:, None] * 9000).to(torch.int16), y
