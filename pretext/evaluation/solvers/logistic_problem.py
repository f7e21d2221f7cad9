"""Labelled items as the solver sees them: what weights lose on them, where they pull, how they curve the loss.

Features of a convolutional network are strongly correlated (condition numbers of 1e6). Along their leading principal
axes the curvature is nearly diagonal and is measured; what is left over is small and gets its mean. This costs about as
much as five passes over the data for several strengths, and leaves 10 to 50 of them instead of hundreds.

A pass reads each item once: the logits, the loss and the gradient of a block of rows follow each other, so that no
buffer grows with the number of items times classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.evaluation.solvers.standardize import Standardizer, eigenvectors

LEADING = 512  # axes; twice as many save no more iterations than they cost, half as many cost more than they save
SAMPLE = 4096  # items that the axes and the curvature are taken from, evenly spaced
SPANNING = 2048  # items of these in whose span the axes are looked for
LIMIT = 2 << 30  # bytes of standardised features that are kept; beyond, blocks of rows are made anew in each pass
BLOCK = {"cpu": 64 << 20, "cuda": 1 << 30}  # bytes of the largest buffer of a pass, by kind of device


class Items(NamedTuple):
    """What P problems want of N items."""

    target: Tensor
    """(P, N), classes in 0..K-1."""
    share: Tensor
    """(P, N), the weight of each item, 1 in all; 0 leaves one out."""

    def keep(self, which: Tensor) -> Items:
        """Return those of some of the problems, `which` (P,) being true for them."""
        return Items(self.target[which], self.share[which])


class Design(ABC):
    """N items under P problems of K classes in R coordinates, the last of which is 1, for the bias."""

    width: int
    """R."""

    @abstractmethod
    def evaluate(self, weight: Tensor, items: Items) -> tuple[Tensor, Tensor]:
        """(P, K, R) -> the weighted sum of the cross-entropy, (P,) in float64, and its gradient (P, K, R)."""

    @abstractmethod
    def classes(self, weight: Tensor) -> Tensor:
        """(P, K, R) -> (P, N), what each problem calls each item."""

    @abstractmethod
    def curvature(self, weight: Tensor, items: Items, strength: Tensor) -> Tensor:
        """Look at the second derivative at (P, K, R), that of the penalties of `strength` (P,) included."""

    @abstractmethod
    def precondition(self, gradient: Tensor, curvature: Tensor) -> Tensor:
        """Divide (P, K, R) by what `curvature` returned: a Newton step, were that all there is."""

    @abstractmethod
    def keep(self, which: Tensor) -> Design:
        """Return the items of some of the problems, `which` (P,) being true for them."""


class SharedDesign(Design):
    """The same items (N, D) in every problem, on the standardizer's device, wherever the features lie.

    They are standardised once if that fits into `limit` bytes, else block by block in each pass.
    """

    def __init__(self, features: Tensor, standardizer: Standardizer, limit: int | None = None) -> None:
        self.device, self.standardizer = standardizer.centre.device, standardizer
        fits = features.numel() * features.element_size() <= room(self.device)
        self.features = features.to(self.device) if fits else features
        self.width = standardizer.width + 1
        self.block = BLOCK.get(self.device.type, BLOCK["cuda"])
        held = len(features) * self.width * 4 <= (room(self.device) if limit is None else limit)
        self.z = self._all() if held else None
        self.every = -(-len(features) // SAMPLE)
        self.axes = self.tail = None
        coordinates = self._sample()
        if standardizer.axes is None and standardizer.width > LEADING:
            self.axes, among = leading_axes(coordinates[:, :-1], LEADING)
            self.tail = (_variance(coordinates[:, :-1]) - _variance(among)).clamp_min(0) / (
                standardizer.width - LEADING
            )
            coordinates = torch.cat([among, coordinates[:, -1:]], dim=1)
        self.square = coordinates.square()

    def _all(self) -> Tensor:
        z = torch.empty(len(self.features), self.width, device=self.device)
        for start in range(0, len(z), rows := self._rows(0)):
            z[start : start + rows] = self.standardizer(self.features[start : start + rows])
        return z

    def _sample(self) -> Tensor:
        return self.standardizer(self.features[:: self.every]) if self.z is None else self.z[:: self.every]

    def _rows(self, logits: int) -> int:
        """Return how many rows make a block, of so many logits each."""
        return max(1, self.block // (4 * max(self.features.shape[1], self.width, logits)))

    def _blocks(self, weight: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield rows, their coordinates (n, R) and their logits (n, P, K)."""
        flat = weight.flatten(0, 1).T
        step = self._rows(flat.shape[1])
        for start in range(0, len(self.features), step):
            rows = slice(start, start + step)
            z = self.standardizer(self.features[rows]) if self.z is None else self.z[rows]
            yield rows, z, (z @ flat).view(-1, *weight.shape[:2])

    def evaluate(self, weight: Tensor, items: Items) -> tuple[Tensor, Tensor]:
        loss = torch.zeros(len(weight), dtype=torch.float64, device=self.device)
        gradient = weight.new_zeros(weight.shape[0] * weight.shape[1], self.width)
        for rows, z, logits in self._blocks(weight):
            each, excess = cross_entropy(logits, items.target[:, rows].T, items.share[:, rows].T)
            loss += each.sum(0, dtype=torch.float64)
            gradient.addmm_(excess.flatten(1).T, z)
        return loss, gradient.view_as(weight)

    def classes(self, weight: Tensor) -> Tensor:
        return torch.cat([logits.argmax(2) for _, _, logits in self._blocks(weight)]).T

    def curvature(self, weight: Tensor, items: Items, strength: Tensor) -> Tensor:
        """Along the leading axes, along the bias and, in the last column, the mean of all other directions."""
        logits = weight @ self._sample().T
        spread = spread_of(logits, 1) * (items.share[:, None, :: self.every] * self.every)
        second = (spread.flatten(0, 1) @ self.square).view(*spread.shape[:2], -1)
        second[..., :-1] += strength.to(second)[:, None, None]
        if self.tail is not None:
            rest = spread.sum(2, keepdim=True) * self.tail + strength.to(second)[:, None, None]
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

    def evaluate(self, weight: Tensor, items: Items) -> tuple[Tensor, Tensor]:
        each, excess = cross_entropy(self.z @ weight.mT, items.target, items.share)
        return each.sum(1, dtype=torch.float64), excess.mT @ self.z

    def classes(self, weight: Tensor) -> Tensor:
        return (self.z @ weight.mT).argmax(2)

    def curvature(self, weight: Tensor, items: Items, strength: Tensor) -> Tensor:
        second = (spread_of(weight @ self.z.mT, 1) * items.share[:, None]) @ self.z.square()
        second[..., :-1] += strength.to(second)[:, None, None]
        return second.clamp_min(1e-12)

    def precondition(self, gradient: Tensor, curvature: Tensor) -> Tensor:
        return gradient / curvature

    def keep(self, which: Tensor) -> Design:
        return self if bool(which.all()) else SeparateDesigns(self.z[which])


def cross_entropy(logits: Tensor, target: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return each item's loss times its share, (...), and its derivative by the logits (..., K)."""
    excess, target = logits.log_softmax(-1), target[..., None]
    each = -excess.gather(-1, target)[..., 0] * share
    excess.exp_().scatter_add_(-1, target, excess.new_full((1,), -1.0).expand(target.shape))
    return each, excess.mul_(share[..., None])


def spread_of(logits: Tensor, dim: int) -> Tensor:
    """Return the second derivative of each item's cross-entropy by each of its logits, which lie along `dim`."""
    probability = logits.softmax(dim)
    return probability * (1 - probability)


def room(device: torch.device) -> int:
    """Return how many bytes of standardised features may be kept on a device."""
    return max(LIMIT, torch.cuda.mem_get_info(device)[0] // 4) if device.type == "cuda" else LIMIT


def leading_axes(z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return nearly the `count` leading principal axes of centred (N, D), (D, count), and coordinates along them.

    One round of randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Review 2011,
    https://arxiv.org/abs/0909.4061) on some of the items finds where to look; the same for the same items.
    """
    start = torch.randn(z.shape[1], count, generator=rng("cpu", "probe", "axes")).to(z)
    some = z[:: -(-len(z) // SPANNING)]
    span, _ = torch.linalg.qr(some.T @ (some @ start))
    among = z @ span
    turn = eigenvectors(among.T @ among / len(z))
    return span @ turn, among @ turn


def _variance(z: Tensor) -> Tensor:
    return z.square().mean(0).sum()
