"""What makes pictures of latents: all that generated views need to know of it."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

BOUND = 2.0
"""Where the normal law of latents is cut off, as the paper's is."""


@runtime_checkable
class LatentGenerator(Protocol):
    """A law of latents (N, D), and a picture for each of them. Any class with these two methods is one.

    Annotate them as here: a config tells by it that your class fits.

    Where it is a module of torch it is moved with what uses it, and stays as it is: nothing trains it.
    """

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, D) on the device of `generator`, the only source of chance."""

    def decode(self, latents: Tensor) -> Tensor:
        """Make pictures (N, 3, H, W) in [0, 1], each of its own latents alone."""


@runtime_checkable
class InvertibleGenerator(LatentGenerator, Protocol):
    """A generator that also finds the latents of a picture."""

    def encode(self, images: Tensor) -> Tensor:
        """Find latents (N, D) of pictures (N, 3, H, W) in [0, 1]."""


def truncated_normal(count: int, size: int, generator: Generator, bound: float = BOUND) -> Tensor:
    """Draw (count, size) from the standard normal law between -bound and bound, on the generator's device."""
    edge = math.erf(bound / math.sqrt(2))
    uniform = torch.rand(count, size, generator=generator, device=generator.device)
    # A uniform of 0 lies at -bound itself; rounding may not lead beyond it.
    return (math.sqrt(2) * torch.erfinv((2 * uniform - 1) * edge)).clamp(-bound, bound)


def decoded(generator: LatentGenerator, latents: Tensor, look: bool = True) -> Tensor:
    """Decode latents (N, D) and look at what came: pictures (N, 3, H, W) in [0, 1].

    Without `look` their shape alone is looked at, for which the host does not wait for the device.

    Raises:
        ValueError: other shapes than these, or numbers that are NaN, infinite or outside [0, 1].

    """
    images = generator.decode(latents)
    name = type(generator).__name__
    if images.ndim != 4 or images.shape[:2] != (len(latents), 3):
        raise ValueError(
            f"{name}.decode made {tuple(images.shape)} of {len(latents)} latents; it has to make pictures (N, 3, H, W)"
        )
    if not look:
        return images
    low, high = images.detach().aminmax() if images.numel() else (torch.zeros(()), torch.ones(()))
    if not (low >= 0 and high <= 1):  # also where one is NaN
        finite = torch.isfinite(images).all()
        got = f"pictures from {low:.4g} to {high:.4g}" if finite else "pictures with NaN or infinite pixels"
        raise ValueError(f"{name}.decode made {got}; wanted are RGB in [0, 1]: look at its weights and its last layer")
    return images
