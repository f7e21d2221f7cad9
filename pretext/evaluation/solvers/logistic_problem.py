"""Labelled items as the solver sees them: what a step does to their logits, what they pull at, how they curve the loss.

Features of a convolutional network are strongly correlated (condition numbers of 1e6). Along their leading principal
axes the curvature is nearly diagonal and is measured; what is left over is small and gets its mean. This costs about as
much as five passes over the data for several strengths, and leaves 10 to 50 of them instead of hundreds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.evaluation.solvers.standardize import ROWS, Standardizer

LEADING = 512  # axes; twice as many save no more iterations than they cost, half as many cost more than they save
SAMPLE = 16384  # items that the axes and the curvature are taken from, evenly spaced
SPANNING = 2048  # items of these in whose span the axes are looked for
LIMIT = 2 << 30  # bytes of standardised features that are kept; beyond, blocks of rows are made anew in each pass


class Design(ABC):
    """N items under P problems of K classes in R coordinates, the last of which is 1, for the bias."""

    width: int
    """R."""

    @abstractmethod
    def logits(self, weight: Tensor) -> Tensor:
        """(P, K, R) -> (P, K, N)."""

    @abstractmethod
    def weighted_sum(self, excess: Tensor) -> Tensor:
        """(P, K, N) -> (P, K, R), the sum over items of excess times coordinates: `logits`, transposed."""

    @abstractmethod
    def curvature(self, spread: Tensor, strength: Tensor) -> Tensor:
        """Look at the second derivative: `spread` (P, K, N), that of each item's loss by its logits, strengths (P,)."""

    @abstractmethod
    def precondition(self, gradient: Tensor, curvature: Tensor) -> Tensor:
        """Divide (P, K, R) by what `curvature` returned: a Newton step, were that all there is."""

    @abstractmethod
    def keep(self, which: Tensor) -> Design:
        """Return the items of some of the problems, `which` (P,) being true for them."""


class SharedDesign(Design):
    """The same items (N, D) in every problem; standardised once if that fits into `limit` bytes, else in each pass."""

    def __init__(self, features: Tensor, standardizer: Standardizer, limit: int = LIMIT) -> None:
        self.features, self.standardizer = features, standardizer
        self.width = standardizer.width + 1
        held = len(features) * self.width * 4 <= limit
        self.z = self._all() if held else None
        self.axes = self.tail = None
        sample = features[:: -(-len(features) // SAMPLE)]
        coordinates = standardizer(sample) if self.z is None or len(sample) < len(features) else self.z
        if standardizer.axes is None and standardizer.width > LEADING:
            self.axes, among = leading_axes(coordinates[:, :-1], LEADING)
            self.tail = (_variance(coordinates[:, :-1]) - _variance(among)).clamp_min(0) / (
                standardizer.width - LEADING
            )
            coordinates = torch.cat([among, coordinates[:, -1:]], dim=1)
        self.square = coordinates.square()

    def _all(self) -> Tensor:
        z = torch.empty(len(self.features), self.width, device=self.features.device)
        for rows, into in zip(torch.split(self.features, ROWS), torch.split(z, ROWS), strict=True):
            into.copy_(self.standardizer(rows))
        return z

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        if self.z is not None:
            yield slice(None), self.z
            return
        for start in range(0, len(self.features), ROWS):
            rows = slice(start, start + ROWS)
            yield rows, self.standardizer(self.features[rows])

    def logits(self, weight: Tensor) -> Tensor:
        flat = weight.flatten(0, 1)
        parts = [flat @ z.T for _, z in self._blocks()]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).view(*weight.shape[:2], -1)

    def weighted_sum(self, excess: Tensor) -> Tensor:
        flat = excess.flatten(0, 1)
        total = flat.new_zeros(len(flat), self.width)
        for rows, z in self._blocks():
            total.addmm_(flat[:, rows], z)
        return total.view(*excess.shape[:2], -1)

    def curvature(self, spread: Tensor, strength: Tensor) -> Tensor:
        """Along the leading axes, along the bias and, in the last column, the mean of all other directions."""
        step = -(-spread.shape[2] // SAMPLE)
        some = spread[..., ::step] * step
        second = (some.flatten(0, 1) @ self.square).view(*spread.shape[:2], -1)
        second[..., :-1] += strength.to(second)[:, None, None]
        if self.tail is not None:
            rest = some.sum(2, keepdim=True) * self.tail + strength.to(second)[:, None, None]
            second = torch.cat([second, rest], dim=2)
        return second.clamp_min(1e-12)

    def precondition(self, gradient: Tensor, curvature: Tensor) -> Tensor:
        if self.axes is None:
            return gradient / curvature
        axes, bias, rest = curvature[..., :-2], curvature[..., -2:-1], curvature[..., -1:]
        slope = gradient[..., :-1]
        along = ((slope @ self.axes) * (1 / axes - 1 / rest)) @ self.axes.T
        return torch.cat([slope / rest + along, gradient[..., -1:] / bias], dim=2)

    def keep(self, which: Tensor) -> Design:
        return self


class SeparateDesigns(Design):
    """Other items in each problem: (P, N, R) in coordinates along their own principal axes, few enough to hold."""

    def __init__(self, z: Tensor) -> None:
        self.z, self.width = z, z.shape[2]

    def logits(self, weight: Tensor) -> Tensor:
        return weight @ self.z.mT

    def weighted_sum(self, excess: Tensor) -> Tensor:
        return excess @ self.z

    def curvature(self, spread: Tensor, strength: Tensor) -> Tensor:
        second = spread @ self.z.square()
        second[..., :-1] += strength.to(second)[:, None, None]
        return second.clamp_min(1e-12)

    def precondition(self, gradient: Tensor, curvature: Tensor) -> Tensor:
        return gradient / curvature

    def keep(self, which: Tensor) -> Design:
        return SeparateDesigns(self.z[which])


def leading_axes(z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return nearly the `count` leading principal axes of centred (N, D), (D, count), and coordinates along them.

    One round of randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011,
    https://arxiv.org/abs/0909.4061) on some of the items finds where to look; the same for the same items.
    """
    start = torch.randn(z.shape[1], count, generator=rng("cpu", "probe", "axes")).to(z)
    some = z[:: -(-len(z) // SPANNING)]
    span, _ = torch.linalg.qr(some.T @ (some @ start))
    among = z @ span
    turn: Tensor = torch.linalg.eigh(among.T @ among / len(z))[1]
    return span @ turn, among @ turn


def _variance(z: Tensor) -> Tensor:
    return z.square().mean(0).sum()
