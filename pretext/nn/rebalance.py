"""Rebalancing: rare classes weigh more, as https://arxiv.org/abs/1603.08511 does with rare colours (section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretext.core.ranks import total

UNIT = 2**16  # one observation in whole numbers


def balance(p: Tensor, share: float) -> Tensor:
    """Weigh classes of probabilities `p` (Q,) so that rare ones count more and the mean weight under `p` is 1.

    w = 1 / ((1 - share) p + share / Q), scaled. Share 0 makes all classes count alike, whatever their number of
    examples; share 1 makes all examples count alike.
    """
    weights = 1 / ((1 - share) * p + share / len(p))
    return weights / (p * weights).sum()


class Rebalance(nn.Module):
    """Count how often each class comes and weigh it accordingly; classes are points, and near ones lend each other.

    The weights start at exactly 1 and follow what is observed, so no pass over the data has to come before training.
    Counts are whole numbers: their sum does not depend on the order in which an accelerator adds, a cast of the module
    to bfloat16 leaves them alone, and they travel in the checkpoint. Among several processes all count what all of them
    observe.

    Args:
        bins: (Q, D), where each class lies.
        share: of the uniform distribution that is mixed into the observed one, in [0, 1]; 0.5 in the paper.
        sigma: of the Gaussian that smooths the observed distribution, in the unit of `bins`; 0: no smoothing.

    Raises:
        ValueError: `bins` is not a table, or share or sigma is out of range.

    """

    counts: Tensor
    kernel: Tensor

    def __init__(self, bins: Tensor, share: float = 0.5, sigma: float = 5.0) -> None:
        super().__init__()
        if bins.ndim != 2 or len(bins) < 1:
            raise ValueError(f"Rebalance: bins must be a table (Q, D) of points, got shape {tuple(bins.shape)}")
        if not 0 <= share <= 1 or sigma < 0:
            raise ValueError(f"Rebalance: share={share}, sigma={sigma}; give a share in [0, 1] and sigma 0 or more")
        self.share = share
        self.sigma = sigma
        self.register_buffer("counts", torch.zeros(len(bins), dtype=torch.int64))
        self.register_buffer("kernel", _kernel(bins, sigma), persistent=False)  # follows from the arguments

    @torch.no_grad()
    def observe(self, indices: Tensor, weights: Tensor) -> None:
        """Count classes `indices` (...) int64, each as `weights` (...) of an observation."""
        new = torch.zeros_like(self.counts)
        self.counts += total(new.index_add_(0, indices.flatten(), (weights.flatten() * UNIT).round().long()))

    @torch.no_grad()
    def distribution(self) -> Tensor:
        """Give the smoothed distribution of what was observed, (Q,) float32.

        One observation of each class is assumed at the start, so it is uniform as long as nothing was observed.
        """
        observed = self.counts.float() / UNIT
        smooth = (observed[:, None] * self.kernel.float()).sum(0) + 1  # no matrix product, which autocast would round
        return smooth / smooth.sum()

    @torch.no_grad()
    def weights(self) -> Tensor:
        """Give the weight of each class, (Q,) float32: `balance` of the distribution."""
        return balance(self.distribution(), self.share)

    def extra_repr(self) -> str:
        return f"bins={len(self.counts)}, share={self.share}, sigma={self.sigma}"


def _kernel(bins: Tensor, sigma: float) -> Tensor:
    """Say how each class spreads one observation over all classes: (Q, Q), rows sum to 1."""
    if sigma == 0:
        return torch.eye(len(bins))
    squared = (bins[:, None].double() - bins.double()).square().sum(-1)
    return torch.softmax(squared / (-2 * sigma**2), 1).float()
