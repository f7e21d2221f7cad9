"""The colours that sRGB can show, as bins of a coarse grid in Lab's ab plane: encode, decode.

The 313 bins of https://arxiv.org/abs/1603.08511 are computed here, not read from the authors' file.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pretext.ops.constants import kept
from pretext.ops.lab import rgb_to_lab

STEP = 10  # between bins, in units of a and b
REACH = 110  # no colour of sRGB is farther out on either axis
BINS = 313


def bins() -> Tensor:
    """List the centres of the bins: (313, 2) float32, a and b, by a and then by b.

    They are the points of a grid of step 10 in the convex hull of sRGB's ab values, dilated by one step to every side:
    exactly the authors' list.
    """
    return _bins(torch.device("cpu")).clone()  # the cache keeps its own


def soft_encode(ab: Tensor, neighbours: int = 10, sigma: float = 5.0) -> tuple[Tensor, Tensor]:
    """Spread colours over their nearest bins, by a Gaussian of their distance.

    Args:
        ab: (..., 2).
        neighbours: k, bins that a colour is spread over; 10 in the authors' code, 5 in the paper.
        sigma: of the Gaussian, in units of a and b.

    Returns:
        weights (..., k) float32 that sum to 1, and the bins (..., k) int64 that they belong to, nearest first.

    """
    points = ab.float().flatten(0, -2)
    centres = _bins(ab.device)
    # Squared distances less |ab|^2, which shifts all bins alike: one product instead of a (..., 313, 2) difference.
    with torch.autocast(ab.device.type, enabled=False):
        near = torch.addmm(centres.square().sum(1), points, centres.T, alpha=-2)
    indices = near.topk(neighbours, largest=False).indices
    squared = (points[:, None] - centres[indices]).square().sum(-1)
    squared, order = squared.sort(stable=True)  # exactly, by their differences
    weights = torch.softmax(squared / (-2 * sigma**2), -1)
    shape = (*ab.shape[:-1], neighbours)
    return weights.view(shape), indices.gather(1, order).view(shape)


def annealed_mean(logits: Tensor, temperature: float = 0.38) -> Tensor:
    """Decode logits over the bins (N, 313, h, w) to colours (N, 2, h, w): the mean of the sharpened distribution.

    Temperature 1 gives the mean, which is dull; towards 0 it becomes the most likely bin, which is patchy.

    Raises:
        ValueError: the temperature is not positive, or there are other than 313 channels.

    """
    if temperature <= 0 or logits.shape[1] != BINS:
        raise ValueError(
            f"annealed_mean: wants logits (N, {BINS}, h, w) and a temperature above 0, "
            f"got {tuple(logits.shape)} and {temperature}"
        )
    sharp = torch.softmax(logits.float() / temperature, 1)
    return torch.einsum("nqhw,qc->nchw", sharp, _bins(logits.device))


@kept
def _bins(device: torch.device) -> Tensor:
    """Compute as `bins` says, once per device: a point is in the dilated hull if it is inside for every direction."""
    with torch.inference_mode(False):  # a tensor born in inference mode could not take part in a backward pass later
        steps = torch.linspace(0, 1, 17)
        cube = torch.cartesian_prod(steps, steps, steps).T.reshape(3, 1, -1)  # every colour of sRGB, coarsely
        shown = rgb_to_lab(cube)[1:].flatten(1).double()  # (2, M)
        angles = torch.arange(720, dtype=torch.float64) * (2 * math.pi / 720)
        directions = torch.stack((angles.cos(), angles.sin()), 1)  # the square's normals, the axes, are among them
        reach = (directions @ shown).amax(1) + STEP * directions.abs().sum(1)
        axis = torch.arange(-REACH, REACH + 1, STEP, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        inside = (grid @ directions.T <= reach).all(1)
        return grid[inside].float().to(device)
