"""Entries of a first-order table that nobody measured, from those that somebody did.

Values are standardised per target first, of affinities their logarithms. A method sees standardised values and says
some for all entries. Sets of several sources are left out: their affinities come from one tournament with the others,
but a table of sources by targets has no place for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from pretext.transfer.graph_autoencoder import (
    Decoder,
    Encoder,
    Gravity,
    InnerProduct,
    SourceTarget,
    directed,
    fit,
    is_constant,
    undirected,
    value_loss,
)

DTYPE = torch.float64


class Known(NamedTuple):
    """What a method may know of S sources and T targets."""

    values: Tensor
    """(S, T), standardised; NaN where nothing is known"""
    weights: Tensor
    """(S, T): how often each entry counts, 0 where nothing is known"""
    sources: Tensor
    """(S,): which node of the graph each source is"""
    targets: Tensor
    """(T,): which node each target is; a task may be both"""
    features: Tensor | None
    """(n, F) of the nodes, standardised"""

    @property
    def nodes(self) -> int:
        """How many tasks there are."""
        return int(torch.cat([self.sources, self.targets]).max()) + 1

    @property
    def inductive(self) -> bool:
        """Is there a source or a target of which nothing is known but its features?"""
        return bool((self.weights.sum(0) == 0).any() or (self.weights.sum(1) == 0).any())


class Method(ABC):
    """A way to complete a table."""

    @abstractmethod
    def predict(self, known: Known, rng: Generator) -> Tensor:
        """Return (S, T) standardised values, also where they are known."""


class SourceMean(Method):
    """Each source is as good for every target as on average, drawn towards 0 by `l2` entries: the baseline."""

    def __init__(self, l2: float = 1.0) -> None:
        self.l2 = l2

    def predict(self, known: Known, rng: Generator) -> Tensor:
        mean = (known.weights * known.values.nan_to_num()).sum(1) / (known.weights.sum(1) + self.l2)
        return mean[:, None].expand(known.values.shape).clone()


class LowRank(Method):
    """Bias of the source + bias of the target + a product of `rank` factors, by alternating least squares.

    Where a source or a target has no entry, its bias and factors come from its features by ridge regression, if there
    are some; else they are 0.

    Args:
        rank: how many factors.
        l2: ridge penalty of factors and biases, in entries.
        sweeps: how often each side is solved.

    """

    def __init__(self, rank: int = 3, l2: float = 1.0, sweeps: int = 30) -> None:
        self.rank, self.l2, self.sweeps = rank, l2, sweeps

    def predict(self, known: Known, rng: Generator) -> Tensor:
        values, weights = known.values.nan_to_num(), known.weights
        columns = torch.randn(values.shape[1], self.rank, generator=rng, dtype=values.dtype) / self.rank**0.5
        column_bias, rows = values.new_zeros(values.shape[1]), values.new_zeros(values.shape[0], self.rank + 1)
        other = columns.new_zeros(len(columns), self.rank + 1)
        for _ in range(self.sweeps):
            rows = self._solve(values - column_bias, weights, columns)
            other = self._solve((values - rows[:, :1]).T, weights.T, rows[:, 1:])
            column_bias, columns = other[:, 0], other[:, 1:]
        if known.features is not None:
            rows = self._from_features(rows, weights.sum(1), known.features[known.sources])
            other = self._from_features(other, weights.sum(0), known.features[known.targets])
        predicted: Tensor = rows[:, :1] + other[:, 0] + rows[:, 1:] @ other[:, 1:].T
        return predicted

    def _solve(self, values: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
        """Solve for the bias and the factors of each row: (S, 1 + rank)."""
        design = torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)
        ridge = self.l2 * torch.eye(design.shape[1], dtype=design.dtype)
        gram = torch.einsum("st,ta,tb->sab", weights, design, design) + ridge
        right = torch.einsum("st,st,ta->sa", weights, values, design)
        solved: Tensor = torch.linalg.solve(gram, right)
        return solved

    def _from_features(self, found: Tensor, counts: Tensor, features: Tensor) -> Tensor:
        """Fill rows without an entry by kernel ridge regression on the features of the others."""
        new = counts == 0
        if not new.any():
            return found
        seen, centre = features[~new], found[~new].mean(0)
        kernel = seen @ seen.T / features.shape[1]
        inverse = torch.linalg.solve(kernel + self.l2 * torch.eye(len(seen), dtype=found.dtype), found[~new] - centre)
        filled = found.clone()
        filled[new] = centre + features[new] @ seen.T / features.shape[1] @ inverse
        return filled


class GraphMethod(Method):
    """A graph autoencoder on all tasks, whose decoder says the values (see `graph_autoencoder`).

    The encoder sees known entries as weights of edges, squashed to (0, 1); the symmetric decoder's graph is
    normalised as undirected, the others' as directed. Values are standardised per target, so a mass on the target
    would say nothing of the order of sources: the edges of a `Gravity` decoder lead from target to source, which makes
    the source the receiver.

    Args:
        decoder: how two embeddings become a value.
        variational: with noise in the embedding.
        mass: who is the receiver, and so bears the mass of a `Gravity` decoder.
        hidden: width of the first layer.
        latent: width of the embedding, for a `Gravity` decoder one more.
        epochs: of Adam.
        rate: of Adam.
        weight_decay: of Adam.

    """

    def __init__(
        self,
        decoder: Decoder,
        variational: bool = False,
        mass: Literal["source", "target"] = "source",
        hidden: int = 64,
        latent: int = 32,
        epochs: int = 400,
        rate: float = 0.02,
        weight_decay: float = 1e-4,
    ) -> None:
        self.decoder, self.variational, self.mass = decoder, variational, mass
        self.hidden, self.latent = hidden, latent + isinstance(decoder, Gravity)
        self.epochs, self.rate, self.weight_decay = epochs, rate, weight_decay

    def predict(self, known: Known, rng: Generator) -> Tensor:
        def table(logits: Tensor) -> Tensor:
            logits = logits.T if self.mass == "source" else logits
            return logits[known.sources][:, known.targets]

        adjacency = self._adjacency(known)
        propagation = undirected(adjacency) if self.decoder.symmetric else directed(adjacency)
        x = self._inputs(known)
        inputs = known.nodes if x is None else x.shape[1]
        encoder = Encoder(inputs, self.hidden, self.latent, self.variational, rng, DTYPE)
        found = fit(
            encoder,
            self.decoder,
            propagation,
            x,
            lambda logits: value_loss(table(logits), known.values, known.weights),
            rng,
            self.epochs,
            self.rate,
            self.weight_decay,
        )
        return table(found.logits)

    def _adjacency(self, known: Known) -> Tensor:
        adjacency = torch.zeros(known.nodes, known.nodes, dtype=DTYPE)
        squashed = torch.where(known.weights > 0, known.values.sigmoid(), 0.0)
        adjacency[known.sources[:, None], known.targets] = squashed
        return adjacency.T.contiguous() if self.mass == "source" else adjacency

    def _inputs(self, known: Known) -> Tensor | None:
        """Show features and the identity, but features alone where a task is not known by any entry."""
        if known.features is None or known.inductive:
            return known.features
        return torch.cat([torch.eye(known.nodes, dtype=DTYPE), known.features], dim=1)


METHODS: dict[str, Method] = {
    "source_mean": SourceMean(),
    "low_rank": LowRank(),
    "gae": GraphMethod(InnerProduct()),
    "vgae": GraphMethod(InnerProduct(), variational=True),
    "source_target_gae": GraphMethod(SourceTarget()),
    "source_target_vgae": GraphMethod(SourceTarget(), variational=True),
    "gravity_gae": GraphMethod(Gravity()),
    "gravity_vgae": GraphMethod(Gravity(), variational=True),
}
"""By the names that the command line takes (`names.METHODS`)."""


def constant_within_targets(predictions: Tensor) -> bool:
    """Tell whether a method has one value for all sources, of each target: it knows nothing of their order."""
    return is_constant(predictions - predictions.mean(0))
