"""What tests for leaks share: noise whose only clue is that edges continue, a net that sees them, a short training."""

import torch
from descent import descend
from torch import nn
from torch.nn import functional

from pretext.core.rng import rng
from pretext.core.types import Backbone, Features


def sit(task, net, x, *parts):
    puzzle = task.pose(x, rng("cpu", "leaks", *parts))
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


def learnt(task, net, draw, steps):
    """Train on `draw(step)`, then judge fresh puzzles in eval mode: the mean accuracy over 20 batches."""
    descend((net, task), lambda step: sit(task, net, draw(step), step).loss, steps, 5e-3)
    net.eval(), task.eval()
    with torch.no_grad():
        scores = [sit(task, net, draw(step), step).scores["accuracy"] for step in range(10_000, 10_020)]
    return torch.stack(scores).mean().item()


class Look(Backbone):
    """Sees the border of a tile, 3 px wide, every pixel in its place: one linear layer can compare two of them."""

    axes = "hw"

    def __init__(self, tile):
        super().__init__()
        self.dim, self.stages = 32, {"only": 32}
        self.only = nn.Linear(tile * tile, 32)
        border = torch.ones(tile, tile)
        border[3:-3, 3:-3] = 0
        self.register_buffer("border", border.flatten())

    def forward(self, x):
        seen = self.only(self.border * (x.mean(1).flatten(1) - 0.45) / 0.225)
        return Features({"only": seen[..., None, None]}, seen)


def smooth_noise(step):
    """Noise that looks the same everywhere and forgets itself after 2 px: (32, 3, 24, 24)."""
    white = torch.randn(32, 1, 30, 30, generator=rng("cpu", "smooth noise", step))
    bell = torch.exp(-torch.arange(-3.0, 4.0).square() / 2)
    bell = bell / bell.norm()
    noise = functional.conv2d(functional.conv2d(white, bell.view(1, 1, 7, 1)), bell.view(1, 1, 1, 7))
    return (0.5 + 0.15 * noise).clamp(0, 1).expand(-1, 3, -1, -1)
