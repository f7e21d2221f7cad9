"""What can be done with latents, beside decoding them: a picture becomes data with handles ("Data++").

All but `optimised` are one line of arithmetic, of latents (N, D) or of pictures (N, 3, H, W) alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from pretext.core.errors import require
from pretext.views.latent.generator import LatentGenerator


def interpolated(first: Tensor, second: Tensor, share: Tensor | float) -> Tensor:
    """Go from `first` to `second`, by a share of the way that may be a tensor; beyond 0 and 1 it is extrapolated."""
    return (1 - share) * first + share * second


def extrapolated(first: Tensor, second: Tensor, beyond: float = 0.5) -> Tensor:
    """Go on behind `second`, by a share of the way from `first` to it."""
    return interpolated(first, second, 1 + beyond)


def moved(latents: Tensor, direction: Tensor, by: Tensor | float) -> Tensor:
    """Move latents (N, D) along a direction (D,), by so many of its lengths."""
    return latents + by * direction


def composed(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Take `first` where the mask is 1 (or true) and `second` where it is 0, between them a mixture of both."""
    weight = mask.to(first.dtype)
    return weight * first + (1 - weight) * second


def optimised(
    generator: LatentGenerator, latents: Tensor, cost: Callable[[Tensor], Tensor], steps: int = 100, rate: float = 0.05
) -> Tensor:
    """Look for latents whose picture costs least, beginning at these, by Adam.

    Args:
        generator: whose `decode` can be differentiated.
        latents: (N, D) to begin at; they stay as they are.
        cost: of pictures (N, 3, H, W), (N,) or ().
        steps: of Adam.
        rate: of learning.

    Returns:
        of each row the latents (N, D) that cost least on the way.

    Raises:
        ValueError: `steps` or `rate` is not positive, or nothing of the cost depends on the latents.

    """
    require(steps >= 1 and rate > 0, "optimised", f"{steps=}, {rate=}", "give positive ones")
    free = latents.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    best, least = free.detach().clone(), latents.new_full((len(latents),), torch.inf)
    with torch.enable_grad():
        for step in range(steps + 1):
            costs = cost(generator.decode(free)).expand(len(free))
            depends = costs.requires_grad
            require(depends, "optimised", "a cost without gradient", "give one of the pictures, which are decoded")
            better = costs.detach() < least
            best[better], least = free.detach()[better], torch.minimum(least, costs.detach())
            if step < steps:
                optimizer.zero_grad()
                free.grad = torch.autograd.grad(costs.sum(), free)[0]
                optimizer.step()
    return best


def fitted_direction(without: Tensor, having: Tensor) -> Tensor:
    """Find the direction (D,) that leads from latents (N, D) without an attribute to latents (M, D) that have it.

    The difference of their means: of pairs (row i with row i) it is the direction that takes the least squares from
    one to the other. Moved by 1 along it, those without come to where those with it are.

    Raises:
        ValueError: one of them is empty, or they differ in D.

    """
    got = f"latents {tuple(without.shape)} and {tuple(having.shape)}"
    fits = without.ndim == having.ndim == 2 and without.shape[1] == having.shape[1] and len(without) and len(having)
    require(bool(fits), "fitted_direction", got, "give (N, D) and (M, D), with at least one row each")
    return having.mean(0) - without.mean(0)


def sought(
    generator: LatentGenerator, having: Callable[[Tensor], Tensor], count: int, chance: Generator
) -> tuple[Tensor, Tensor]:
    """Draw `count` latents and part them into those without an attribute and those having it.

    Args:
        generator: whose latents are drawn.
        having: of latents (N, D), (N,) bool.
        count: how many are drawn.
        chance: the only source of it.

    Raises:
        ValueError: all of them have it, or none.

    """
    latents = generator.sample(count, chance)
    has = having(latents).bool()
    both = bool(has.any() and not has.all())
    found = "all" if has.any() else "none"
    require(both, "sought", f"{found} of {count} latents with the attribute", "draw more, or ask for another one")
    return latents[~has], latents[has]
