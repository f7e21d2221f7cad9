"""Networks as vectors of their weights, and whether the vectors of several networks can be compared at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pretext.core.errors import require

SHUFFLES = 20
SHARED = 0.05
"""Of squared cosines above those of shuffled coordinates: with less, weights have no common basis."""
State = Mapping[str, Tensor]


class Layout(NamedTuple):
    """Where the weights of a network stand in its vector: those of the encoder first."""

    encoder: tuple[tuple[str, torch.Size], ...]
    decoder: tuple[tuple[str, torch.Size], ...]

    @property
    def split(self) -> int:
        """How many numbers are the encoder's."""
        return sum(shape.numel() for _, shape in self.encoder)

    @property
    def sizes(self) -> list[int]:
        """How many numbers each tensor has."""
        return [shape.numel() for _, shape in (*self.encoder, *self.decoder)]

    def vector(self, state: State, name: str = "a network") -> Tensor:
        """Write the weights of a network one after the other, (P,), in float32.

        Raises:
            ValueError: they have other names or shapes; the message names the first.

        """
        own = layout_of(state)
        wanted, got = dict((*self.encoder, *self.decoder)), dict((*own.encoder, *own.decoder))
        for key in (*wanted, *got):
            if wanted.get(key) != got.get(key):
                shapes = [tuple(found[key]) if key in found else "nothing" for found in (got, wanted)]
                raise ValueError(
                    f"{name} has another shape than the others: {shapes[0]} in {key}, they have {shapes[1]}; give all "
                    "tasks one network and one kind of head"
                )
        return torch.cat([state[key].detach().float().flatten().cpu() for key in wanted])

    def state(self, vector: Tensor) -> dict[str, Tensor]:
        """Read a vector (P,) back, with its gradients; running variances stay above 0."""
        every = (*self.encoder, *self.decoder)
        parts = zip(every, torch.split(vector, self.sizes), strict=True)
        state = {name: part.view(shape) for (name, shape), part in parts}
        return {k: v.clamp(min=1e-5) if k.endswith("running_var") else v for k, v in state.items()}


def layout_of(state: State) -> Layout:
    """Find the floating numbers of a network, of which the encoder's have names that begin with "encoder."."""
    every = [(name, value.shape) for name, value in state.items() if value.is_floating_point()]
    parts = [tuple(one for one in every if one[0].startswith("encoder.") == inside) for inside in (True, False)]
    return Layout(*parts)


class Basis(NamedTuple):
    """How much the coordinates of several tasks' weights have to do with one another."""

    shared: float
    """Mean squared cosine of two tasks' weights, where those of shuffled coordinates are 0: at most 1"""

    @property
    def common(self) -> bool:
        """Can the weights be compared?"""
        return self.shared >= SHARED


def basis_of(tasks: Sequence[Tensor], sizes: Sequence[int], generator: Generator) -> Basis:
    """Compare the weights of tasks with themselves after each task's coordinates are shuffled within each tensor.

    Networks that were trained from several initialisations number their channels differently, so that nothing is lost
    by shuffling. Then no mixture of their weights means anything.

    Args:
        tasks: of each its models (p, P).
        sizes: of the tensors that a vector consists of.
        generator: of the shuffles.

    Raises:
        ValueError: fewer than two tasks.

    """
    require(len(tasks) > 1, "basis_of", f"{len(tasks)} task", "it wants two or more")
    means = torch.stack([models.mean(0) for models in tasks]).double()
    found = _alike(means)
    shuffled = math.fsum(_alike(_shuffled(means, sizes, generator)) for _ in range(SHUFFLES)) / SHUFFLES
    return Basis((found - shuffled) / max(1 - shuffled, 1e-12))


def _alike(vectors: Tensor) -> float:
    """Average the squared cosines of all pairs."""
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    cosines = [float(unit[a] @ unit[b]) ** 2 for a, b in combinations(range(len(unit)), 2)]
    return math.fsum(cosines) / len(cosines)


def _shuffled(vectors: Tensor, sizes: Sequence[int], generator: Generator) -> Tensor:
    parts = []
    for part in torch.split(vectors, list(sizes), dim=1):
        order = torch.rand(part.shape, generator=generator).argsort(1)
        parts.append(part.gather(1, order))
    return torch.cat(parts, dim=1)
