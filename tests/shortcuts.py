"""Toy tasks, and data that hold one planted shortcut each, for what finds them."""

import math

import torch
from torch import nn

from pretext.audit.lenses import aberration, reencoded
from pretext.core.rng import rng
from pretext.core.types import Grade, Panel, Puzzle, Task
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import thumbnail


class Toy(Task):
    """Was the picture, clip or sound changed? An heir says how."""

    def __init__(self, backbone):
        super().__init__()
        self.head = nn.Linear(backbone.dim, 2)
        nn.init.normal_(self.head.weight, std=0.01)

    def pose(self, x, rng):
        labels = torch.randint(2, (len(x),), generator=rng, device=x.device)
        changed = labels.bool().view(-1, *(1 for _ in x.shape[1:]))
        plain, other = self.ways(x)
        return Puzzle(torch.where(changed, other, plain), labels)

    def solve(self, features, given):
        return self.head(features.pooled)

    def grade(self, prediction, answer):
        return cross_entropy(prediction, answer)

    def chance(self):
        return blind_guess(2)

    def draw(self, puzzle, prediction):
        shown = puzzle.question
        return [[Panel(each if each.ndim == 3 else thumbnail(each), "changed?")] for each in shown]


class Mirrored(Toy):
    def ways(self, x):
        return x, x.flip(-1)


class Negative(Toy):
    def ways(self, x):
        return x, 1 - x


class Backward(Toy):
    """Of clips and sounds."""

    def ways(self, x):
        return x, x.flip(2)


class WhichHalf(Toy):
    def ways(self, x):
        return x.chunk(2, -1)


class Shifted(Toy):
    """Where in a block of JPEG does the picture begin?"""

    def ways(self, x):
        return x[..., :-4, :-4], x[..., 4:, 4:]


class Blurred(Toy):
    def ways(self, x):
        small = nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
        return x, nn.functional.interpolate(small, scale_factor=2.0, mode="bilinear")


class Duel(Toy):
    """Whose own error nobody can lower, but what is added to it, as an adversary's part is."""

    def ways(self, x):
        return x, x

    def grade(self, prediction, answer):
        won = nn.functional.softplus(prediction[:, 0]).mean()
        return Grade(1 + won, {"error": torch.tensor(1.0)})

    def chance(self):
        return Grade(torch.tensor(1.0 + math.log(2)), {"error": torch.tensor(1.0)})


class LeaksThroughWhatIsGiven(Toy):
    def ways(self, x):
        return x, x

    def pose(self, x, rng):
        puzzle = super().pose(x, rng)
        return puzzle._replace(given=2 * puzzle.answer.float() - 1)

    def solve(self, features, given):
        both = torch.stack((-given, given), 1)
        return self.head(features.pooled) + both * (1 + self.head.bias.sum())


class Missing(Toy):
    """Has everything that a task needs, but wants clips."""

    def pose(self, x, rng):
        raise ValueError(f"Missing wants clips, got {tuple(x.shape)}; choose other data")


def textures(n, side=16, low=0, high=256, key=0):
    """Independent pixels, uint8."""
    return torch.randint(low, high, (n, 3, side, side), generator=rng("cpu", "textures", key), dtype=torch.uint8)


def framed(n, side=16, key=0):
    """Textures whose left edge is white and whose right one is black."""
    x = textures(n, side, key=key)
    x[..., :1], x[..., -1:] = 255, 0
    return x


def halves(n, side=32, key=0):
    """Textures whose left half is a little darker: every pixel tells as much as any other."""
    x = textures(n, side, 64, 192, key)
    x[..., : side // 2] -= 6
    return x


def dark(n, side=16, key=0):
    """Textures that are dark inside of a border that is not."""
    x = textures(n, side, key=key)
    x[..., 1:-1, 1:-1] //= 3
    return x


def wedges(n, side=16, key=0):
    """Textures with a wedge somewhere inside, which grows to the right: sight alone tells which way it points."""
    x = textures(n, side, 96, 160, key).clone()
    places = torch.randint(2, side - 10, (n, 2), generator=rng("cpu", "wedges", key))
    down, across = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    wedge = (2 * (down - 3.5).abs() < across + 1).to(torch.uint8)
    turn = torch.rand(n, generator=rng("cpu", "wedges", "light", key)) < 0.5  # light or dark: no mean tells
    for i, (top, left) in enumerate(places.tolist()):
        part = x[i, :, top : top + 8, left : left + 8]
        part[:, wedge.bool()] = 255 if turn[i] else 0
    return x


def tones(n, samples=320, key=0):
    """Noise that is loud for a while before its middle; both ends are alike."""
    loud = torch.full((samples,), 0.1)
    loud[samples // 4 : samples // 2] = 0.8
    wave = torch.rand(n, 1, samples, generator=rng("cpu", "tones", key)) - 0.5
    wave = wave + 0.2 * wave.sign()  # never silent
    return (wave * loud * 2**15).to(torch.int16)


def smooth(n, side=36, key=0):
    """Pictures without detail, whose slopes lie anywhere."""
    coarse = torch.rand(n, 3, side // 12 + 4, side // 12 + 4, generator=rng("cpu", "smooth", key))
    large = 255 * nn.functional.interpolate(coarse, scale_factor=12, mode="bicubic").clamp(0, 1)
    places = torch.randint(12, 24, (n, 2), generator=rng("cpu", "smooth", "places", key)).tolist()
    parts = [each[:, y : y + side, x : x + side] for each, (y, x) in zip(large, places, strict=True)]
    return torch.stack(parts).to(torch.uint8)


def compressed(n, side=36, key=0):
    """Smooth pictures that were JPEGs."""
    return reencoded(smooth(n, side, key), rng("cpu", "none"))


def fringed(n, side=32, key=0):
    """What a lens makes of grey waves."""
    return aberration(textures(n, side, key=key), rng("cpu", "fringed", key))
