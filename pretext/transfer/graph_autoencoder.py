"""https://arxiv.org/abs/1905.09570 (Salha et al.: gravity-inspired graph autoencoders, CIKM 2019), and before it.

https://arxiv.org/abs/1611.07308 (Kipf and Welling: GAE and VGAE, 2016). Dense, since graphs of tasks are small; a graph
of 2,708 nodes takes a tenth of a second an epoch. An edge leads from row i, the sender, to column j, the receiver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pretext.core.errors import require

CONSTANT = 1e-3
"""Outputs whose deviation is below this are one value for all: dead units, see `is_constant`."""


def undirected(adjacency: Tensor) -> Tensor:
    """Normalise (n, n) as Kipf and Welling do, D^-1/2 (A + I) D^-1/2, of the mean of both directions."""
    looped = (adjacency + adjacency.T) / 2 + torch.eye(len(adjacency), dtype=adjacency.dtype)
    scale = looped.sum(1).rsqrt()
    return scale[:, None] * looped * scale


def directed(adjacency: Tensor) -> Tensor:
    """Normalise (n, n) by the degrees of the senders, D^-1 (A + I), as Salha et al. do: rows sum to one."""
    looped = adjacency + torch.eye(len(adjacency), dtype=adjacency.dtype)
    return looped / looped.sum(1, keepdim=True)


class Latent(NamedTuple):
    """What an encoder says of n nodes."""

    mean: Tensor
    """(n, D)"""
    log_std: Tensor | None
    """(n, D), of the deviation and not of the variance; None where nothing is drawn"""

    def draw(self, rng: Generator) -> Tensor:
        """Draw an embedding (n, D), or return the mean."""
        if self.log_std is None:
            return self.mean
        noise = torch.randn(self.mean.shape, generator=rng, dtype=self.mean.dtype)
        return self.mean + noise * self.log_std.exp()

    def divergence(self) -> Tensor:
        """Tell how far it is from a standard normal: the mean over nodes of the KL divergence, over n once more.

        The second 1/n is the authors'; it makes the term very small. 0 where nothing is drawn.
        """
        if self.log_std is None:
            return self.mean.new_zeros(())
        of_each = (self.mean.square() + (2 * self.log_std).exp() - 1 - 2 * self.log_std).sum(1) / 2
        return of_each.mean() / len(self.mean)


class Encoder(nn.Module):
    """Two graph convolutions, the first with a ReLU; of a variational one, a second layer each for mean and deviation.

    Args:
        inputs: features of a node; their number of nodes where there are none (`x` is then the identity).
        hidden: width of the first layer.
        latent: width of the embedding.
        variational: with a deviation.
        rng: draws the weights, uniform as Glorot and Bengio (2010) do.
        dtype: of the weights.

    """

    def __init__(
        self, inputs: int, hidden: int, latent: int, variational: bool, rng: Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()

        def weight(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, columns, dtype=dtype), generator=rng))

        self.first, self.mean = weight(inputs, hidden), weight(hidden, latent)
        self.log_std = weight(hidden, latent) if variational else None

    def forward(self, propagation: Tensor, x: Tensor | None) -> Latent:
        """Embed the nodes of a normalised graph (n, n) with features (n, F), or with None for the identity."""
        hidden = F.relu(propagation @ (self.first if x is None else x @ self.first))
        log_std = None if self.log_std is None else propagation @ (hidden @ self.log_std)
        return Latent(propagation @ (hidden @ self.mean), log_std)


class Decoder(ABC):
    """Turns an embedding to a logit for each edge."""

    symmetric: bool
    """It says the same of both directions."""

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """Map (n, D) to logits (n, n) of the edges from row to column."""


class InnerProduct(Decoder):
    """z_i . z_j; exactly as much as z_j . z_i, so it knows nothing of directions."""

    symmetric = True

    def __call__(self, z: Tensor) -> Tensor:
        product = z @ z.T
        return (product + product.T) / 2  # a matrix product may round both halves otherwise


class SourceTarget(Decoder):
    """The first half of z_i times the second half of z_j."""

    symmetric = False

    def __call__(self, z: Tensor) -> Tensor:
        require(z.shape[1] % 2 == 0, self, f"an embedding of width {z.shape[1]}", "it wants an even one, to halve it")
        sender, receiver = z.chunk(2, dim=1)
        return sender @ receiver.T


class Gravity(Decoder):
    """Mass of the *receiver* less `strength` log(squared distance + `eps`); the last of z is the log of the mass.

    The authors' evaluation takes log((distance + eps)^2) instead; here both are as in their training.

    Args:
        strength: how much distances count against masses; they took 1, and 0.05 to tell directions.
        eps: keeps the logarithm finite.
        normalise: bring positions to length 1.

    """

    symmetric = False

    def __init__(self, strength: float = 1.0, eps: float = 0.01, normalise: bool = False) -> None:
        self.strength, self.eps, self.normalise = strength, eps, normalise

    def __call__(self, z: Tensor) -> Tensor:
        place, mass = z[:, :-1], z[:, -1]
        place = F.normalize(place, dim=1) if self.normalise else place
        return mass - self.strength * torch.log(squared_distances(place) + self.eps)


def squared_distances(z: Tensor) -> Tensor:
    """Return (n, n) of z (n, D). |a|^2 - 2ab + |b|^2 may round to less than 0, so it is clamped."""
    lengths = z.square().sum(1)
    return (lengths[:, None] - 2 * z @ z.T + lengths).clamp(min=0)


class Fitted(NamedTuple):
    """A trained autoencoder's last word."""

    logits: Tensor
    """(n, n), of the mean embedding"""
    loss: float
    constant: bool
    """It says the same of all edges (`is_constant`): train it at a smaller rate, or take another decoder."""


def fit(
    encoder: Encoder,
    decoder: Decoder,
    propagation: Tensor,
    x: Tensor | None,
    loss_of: Callable[[Tensor], Tensor],
    rng: Generator,
    epochs: int = 200,
    rate: float = 0.01,
    weight_decay: float = 0.0,
) -> Fitted:
    """Train by Adam on the whole graph; `loss_of` judges logits (n, n), and the divergence is added.

    Raises:
        FloatingPointError: the loss is no number.

    """
    optimizer = torch.optim.Adam(encoder.parameters(), rate, weight_decay=weight_decay)
    value = torch.zeros(())
    for _ in range(epochs):
        latent = encoder(propagation, x)
        value = loss_of(decoder(latent.draw(rng))) + latent.divergence()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    if not value.isfinite():
        raise FloatingPointError(f"the graph autoencoder's loss is {value.item()}; train it at a smaller rate")
    with torch.no_grad():
        logits = decoder(encoder(propagation, x).mean)
    return Fitted(logits, float(value.detach()), is_constant(logits))


def edge_loss(logits: Tensor, adjacency: Tensor) -> Tensor:
    """Weigh the cross-entropy of all n^2 edges so that those that are there count as much as those that are not.

    The mean over labels A + I with weight (n^2 - |E|) / |E| on edges, times n^2 / (2 (n^2 - |E|)).
    """
    places, edges = adjacency.numel(), float(adjacency.sum())
    labels = (adjacency + torch.eye(len(adjacency), dtype=adjacency.dtype)).clamp(max=1)
    weight = torch.tensor((places - edges) / edges, dtype=logits.dtype)
    mean = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight)
    return places / (2 * (places - edges)) * mean


def value_loss(predictions: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Take the weighted mean of the squared error over entries whose weight is not 0; others may be NaN."""
    there = weights > 0
    return (weights[there] * (predictions[there] - values[there]).square()).sum() / weights.sum()


def is_constant(logits: Tensor) -> bool:
    """Tell whether all edges get one value: units that died, which score exactly 50 % of everything."""
    return bool(logits.std() < CONSTANT)
