"""How many directions do features use? RankMe, alpha-ReQ and LiDAR, which need no labels.

All three read the spectrum of a set of N items with D features each, of any float type, perhaps memory-mapped. What
they work on is the D x D or, where there are fewer items than features, N x N matrix of products, summed in double
precision block by block: singular values down to 1e-8 of the largest are seen, which is below RankMe's own 1e-7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

EPS = 1e-7  # added to each share, in the papers of RankMe and LiDAR
DELTA = 1e-4  # a variance, on the diagonal of LiDAR's covariance within objects
RANKS = (4, 100)  # alpha-ReQ's fit, first and last eigenvalue counted from 1: the range of its authors' released code
NOISE = 1e-12  # share of a set's mean square below which a variance is rounding: a deviation of 1e-6, float32's own
BLOCK = 1024


@torch.no_grad()
def rankme(z: Tensor) -> float:
    """Return exp of the entropy of p_i = sigma_i / sum(sigma) + 1e-7, sigma being the singular values of `z` (N, D).

    From 1 (one direction: collapse) to min(N, D). As in the paper `z` is not centred, so features that differ little
    beside their common mean count as collapsed. Scale and rotation do not matter. The paper takes 25,600 items; with
    few items (N not much larger than D) the value grows with N, so compare equal numbers. Where all is 0 it is 1.

    Garrido et al., RankMe, ICML 2023, https://arxiv.org/abs/2210.02885.

    Raises:
        ValueError: not (N, D), fewer than 2 items, values that are not finite.

    """
    check("rankme", z)
    return effective_rank(_spectrum(z, centred=False).sqrt())


@torch.no_grad()
def alpha_req(z: Tensor, ranks: tuple[int, int] = RANKS) -> float:
    """Return the exponent a of the power law lambda_i ~ i^-a of the eigenvalues of the covariance of `z` (N, D).

    Fit: log(lambda_i) on log(i) by least squares with weights 1/i, over the eigenvalues from `ranks[0]` to `ranks[1]`
    (counted from 1, 4 to 100 unless told), as the authors' released code has it; the paper names neither weights nor
    range. The range ends early where eigenvalues are below 1e-12 of the first, which is rounding; where less than two
    are left, it goes from the first to the first that is rounding, counted as 1e-12. So a set of one direction, or of
    none, decays the fastest: 12 ln 10 / ln 2 = 39.9. The paper found values near 1 best; 0 is white noise. Scale,
    rotation and the mean do not matter.

    Agrawal et al., alpha-ReQ, NeurIPS 2022, https://openreview.net/forum?id=ii9X4vtZGTZ.

    Raises:
        ValueError: as `rankme`, or `ranks` that are not two numbers, 1 <= first < last.

    """
    check("alpha_req", z)
    first, last = ranks
    if not 1 <= first < last:
        raise ValueError(f"alpha_req got ranks={tuple(ranks)}; it wants 1 <= first < last, such as {RANKS}")
    return _decay(_spectrum(z, centred=True)[: len(z) - 1], first, last)  # centring takes one direction away


@torch.no_grad()
def lidar(views: Tensor, delta: float = DELTA) -> float:
    """Return the effective rank of the LDA matrix of `views` (n, q, D): q views of each of n objects.

    The matrix is W^-1/2 B W^-1/2. B is the covariance of the objects' means; W that of the views about their object's
    mean, plus `delta` on its diagonal (both divide by their number of items). Its eigenvalues become p_i = lambda_i /
    sum(lambda) + 1e-7 and these exp of their entropy: directions count that tell objects apart, and not those that
    tell views apart. From 1 (collapse) to min(n - 1, D). Rotation and the mean do not matter; scale does, as `delta`
    is a variance: where the views differ less than sqrt(delta) it is the effective rank of B alone. The paper takes 10
    or 50 views each and 1,000 objects or more.

    Thilak et al., LiDAR, ICLR 2024, https://arxiv.org/abs/2312.04000.

    Raises:
        ValueError: not (n, q, D), fewer than 2 objects or 2 views, values that are not finite, delta not above 0.

    """
    check_views("lidar", views)
    if delta <= 0:
        raise ValueError(f"lidar got delta={delta}; it wants a variance above 0, such as {DELTA}")
    n, q, features = views.shape
    if features > n * q:  # all that happens lies in the span of the views: turn it onto fewer axes
        views = torch.linalg.qr(views.double().flatten(0, 1).T).R.T.unflatten(0, (n, q))
    objects = torch.cat([part.double().mean(1) for part in torch.split(views, BLOCK)])
    apart = objects - objects.mean(0)
    if apart.square().sum() <= NOISE * objects.square().sum():
        return 1.0
    parts = zip(torch.split(views, BLOCK), torch.split(objects, BLOCK), strict=True)
    within = _total(_products((part.double() - mean[:, None]).flatten(0, 1)) for part, mean in parts) / (n * q)
    root = torch.linalg.cholesky(within + delta * torch.eye(len(within), dtype=within.dtype, device=within.device))
    return effective_rank(_spectrum(torch.linalg.solve_triangular(root, apart.T, upper=False), centred=False))


def effective_rank(values: Tensor) -> float:
    """Return exp of the entropy of p = values / sum + 1e-7, for values >= 0 of any scale; 1 where all are 0."""
    total = values.sum()
    if total == 0:
        return 1.0
    p = values / total + EPS
    return math.exp(-float((p * p.log()).sum()))


def check(name: str, z: Tensor) -> None:
    """Refuse what is no set of features (N, D) with N >= 2, in the name of the function that got it.

    Raises:
        ValueError: as said.

    """
    if z.ndim != 2 or len(z) < 2 or z.shape[1] == 0:
        raise ValueError(f"{name} got {tuple(z.shape)}; it wants features (N, D) of 2 items or more")
    if not all(part.isfinite().all() for part in torch.split(z, BLOCK)):
        raise ValueError(f"{name}: the features hold NaN or infinity; look at the backbone's weights")


def check_views(name: str, views: Tensor) -> None:
    """Refuse what are no views (n, q, D) with n >= 2 and q >= 2, in the name of the function that got them.

    Raises:
        ValueError: as said.

    """
    if views.ndim != 3 or min(views.shape[:2]) < 2 or views.shape[2] == 0:
        raise ValueError(
            f"{name} got {tuple(views.shape)}; it wants (n, q, D): 2 or more objects, 2 or more views of each"
        )
    check(name, views.flatten(0, 1))


def _decay(values: Tensor, first: int, last: int) -> float:
    """Fit the exponent of descending eigenvalues (m,), as `alpha_req` says."""
    share = torch.zeros(max(2, len(values)), dtype=values.dtype, device=values.device)
    share[: len(values)] = values / values[0]
    share[0] = 1  # also where all are 0: less than one direction is shown as one
    share = share.nan_to_num(0)
    known = int((share > NOISE).sum())
    if known <= first:
        first, known = 1, known + 1
    y = share[first - 1 : min(last, known)].clamp(min=NOISE).log()
    index = torch.arange(first, first + len(y), dtype=y.dtype, device=y.device)
    x, weight = index.log(), 1 / index
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    return -float((weight * x * y).sum() / (weight * x * x).sum())


def _spectrum(z: Tensor, centred: bool) -> Tensor:
    """Return the squared singular values of `z` (N, D), or of `z` less its mean: (min(N, D),) doubles, descending.

    Of the centred, all are 0 where their sum is rounding.
    """
    mean = z.new_zeros(z.shape[1], dtype=torch.float64)
    if centred:
        mean = _total(part.double().sum(0) for part in torch.split(z, BLOCK)) / len(z)
    if len(z) >= z.shape[1]:
        products = _total(_products(part.double() - mean) for part in torch.split(z, BLOCK))
    else:
        columns = zip(torch.split(z, BLOCK, 1), torch.split(mean, BLOCK), strict=True)
        products = _total(_products((part.double() - middle).T) for part, middle in columns)
    values: Tensor = torch.linalg.eigvalsh(products).flip(0).clamp(min=0)
    if values.sum() <= NOISE * len(z) * mean.square().sum():
        return torch.zeros_like(values)
    return values


def _products(rows: Tensor) -> Tensor:
    """Multiply each column with each: (D, D) of (N, D)."""
    return rows.T @ rows


def _total(parts: Iterable[Tensor]) -> Tensor:
    """Add up parts while only one of them exists at a time."""
    return reduce(torch.add, parts)
