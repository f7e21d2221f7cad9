import math

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

from pretext.evaluation.rank import alpha_req, effective_rank, lidar, rankme


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(dim, seed=9):
    return torch.linalg.qr(normal(dim, dim, seed=seed)).Q


def with_eigenvalues(values, items=300):
    """Make features whose covariance has exactly these eigenvalues, up to scale, along turned axes, off the origin."""
    centred = normal(items, len(values))
    axes = torch.linalg.qr(centred - centred.mean(0)).Q  # orthonormal, and each sums to 0
    return axes * values.sqrt() @ rotation(len(values)) + 0.1 * normal(len(values), seed=5)


@pytest.mark.parametrize("shape", [(300, 32), (32, 300), (64, 64)])
def test_orthonormal_directions_all_count(shape):
    z = torch.linalg.qr(normal(max(shape), min(shape))).Q
    z = z if shape[0] > shape[1] else z.T
    assert rankme(z) == pytest.approx(min(shape), rel=1e-4)  # the paper's 1e-7 on each share adds 1e-5


def test_one_direction_has_rank_one():
    assert rankme(normal(300, 1) * normal(1, 32, seed=1)) == pytest.approx(1, abs=1e-3)


def test_singular_values_2_1_have_their_known_effective_rank():
    assert rankme(torch.diag(torch.tensor([2.0, 1.0]))) == pytest.approx(1.889882, abs=1e-6)


def test_singular_values_2_1_1_have_an_effective_rank_of_twice_root_2():
    # Shares 1/2, 1/4, 1/4 have an entropy of 3/2 ln 2.
    assert rankme(rotation(50)[:, :3] * torch.tensor([2.0, 1, 1])) == pytest.approx(2**1.5, rel=1e-5)
    assert effective_rank(torch.tensor([2.0, 1, 1])) == pytest.approx(2**1.5, rel=1e-5)


@pytest.mark.parametrize("shape", [(2500, 24), (24, 2500), (1024, 8)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_rankme_is_the_papers_formula_on_the_singular_values(shape, dtype):
    z = (normal(*shape) * torch.logspace(0, -2, shape[1]) + 0.3).to(dtype)
    sigma = np.linalg.svd(z.double().numpy(), compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    assert rankme(z) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)


@pytest.mark.parametrize("measure", [rankme, alpha_req])
@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e20])
def test_scale_and_rotation_do_not_matter(measure, scale):
    z = normal(300, 40) * torch.logspace(0, -2, 40) + 1
    assert measure(scale * z @ rotation(40)) == pytest.approx(measure(z), rel=1e-6)
    assert measure((scale * z).float()) == pytest.approx(measure(z), rel=1e-4)


def test_rankme_counts_a_common_mean_as_collapse_and_alpha_req_does_not_see_it():
    z = normal(300, 40)
    assert rankme(z) > 30
    assert rankme(z + 1e4) < 1.1
    assert alpha_req(z + 1e4) == pytest.approx(alpha_req(z), rel=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("dims", [12, 60, 150])
def test_a_power_law_has_its_own_exponent(decay, dims):
    spectrum = torch.arange(1, dims + 1).double() ** -decay
    assert alpha_req(with_eigenvalues(spectrum)) == pytest.approx(decay, abs=1e-6)
    assert alpha_req(with_eigenvalues(spectrum, items=dims + 1)) == pytest.approx(decay, abs=1e-6)


def test_only_the_eigenvalues_in_the_range_count():
    spectrum = torch.arange(1, 131).double() ** -1.5
    bent = spectrum.clone()
    bent[:3] *= 100
    bent[100:] *= 1e-3
    assert alpha_req(with_eigenvalues(bent)) == pytest.approx(1.5, abs=1e-6)
    assert alpha_req(with_eigenvalues(bent), ranks=(1, 130)) > 1.7


@pytest.mark.parametrize(("shape", "last"), [((400, 150), 100), ((400, 30), 30), ((90, 150), 89)])
def test_the_fit_is_numpys_with_weights_1_over_rank(shape, last):
    z = (normal(*shape) * torch.linspace(1, 0.2, shape[1])).numpy()
    values = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    index = np.arange(4, last + 1)
    slope, _ = np.polyfit(np.log(index), np.log(values[3:last]), 1, w=index**-0.5)  # polyfit squares its weights
    assert alpha_req(torch.from_numpy(z)) == pytest.approx(-slope, rel=1e-6)


def objects(informative, nuisance, rest, n=400, q=6, noise=0.01):
    """Views (n, q, D): directions that tell objects apart, ones that only tell views apart, and noise."""
    between = normal(n, 1, informative).expand(n, q, -1)
    within = normal(n, q, nuisance, seed=1)
    quiet = torch.zeros(n, q, rest, dtype=torch.float64)
    views = torch.cat([between, within, quiet], 2)
    return (views + noise * normal(*views.shape, seed=2)) @ rotation(views.shape[2])


@pytest.mark.parametrize("informative", [1, 5, 20])
def test_lidar_counts_what_tells_objects_apart(informative):
    assert lidar(objects(informative, 0, 40)) == pytest.approx(informative, rel=0.08)


def test_lidar_does_not_count_what_tells_views_apart():
    views = objects(5, 20, 0)
    assert lidar(views) == pytest.approx(5, rel=0.08)
    assert rankme(views.flatten(0, 1)) == pytest.approx(25, rel=0.1)


@pytest.mark.parametrize("shape", [(100, 4, 12), (1100, 2, 8), (6, 3, 40), (7, 2, 14)])
def test_lidar_is_the_effective_rank_of_the_generalised_eigenvalues(shape):
    views = (normal(*shape) + 2 * normal(shape[0], 1, shape[2], seed=1)) * torch.linspace(0.05, 1, shape[2])
    means = views.mean(1)
    apart, about = means - means.mean(0), (views - means[:, None]).flatten(0, 1)
    between, within = apart.T @ apart / len(apart), about.T @ about / len(about) + 0.01 * torch.eye(shape[2])
    values = np.clip(eigh(between.numpy(), within.numpy(), eigvals_only=True), 0, None)
    p = values / values.sum() + 1e-7
    assert lidar(views, delta=0.01) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-3)
    assert lidar(views, delta=0.01) < min(shape[0] - 1, shape[2]) + 1e-3


def test_lidar_turned_moved_and_scaled():
    views = objects(5, 5, 20)
    assert lidar(views @ rotation(30, seed=3) + 7) == pytest.approx(lidar(views), rel=1e-6)
    assert lidar(100 * views, delta=100**2 * 1e-4) == pytest.approx(lidar(views), rel=1e-6)  # delta is a variance
    assert lidar(views.half()) == pytest.approx(lidar(views), rel=0.01)


def test_where_views_are_equal_lidar_is_the_rank_of_their_covariance():
    means = torch.linalg.qr(normal(200, 16) - normal(200, 16).mean(0)).Q
    assert lidar(means[:, None].expand(-1, 3, -1)) == pytest.approx(16, rel=1e-3)


@pytest.mark.parametrize("z", [torch.zeros(50, 20), torch.full((50, 20), 0.3), torch.ones(50, 20).half() * 700])
def test_collapse_is_a_finite_result(z):
    assert rankme(z) == pytest.approx(1, abs=1e-4)
    assert alpha_req(z) == pytest.approx(12 * math.log(10) / math.log(2))
    assert lidar(z.view(10, 5, 20)) == pytest.approx(1, abs=1e-4)


def test_rounding_is_no_variance():
    z = 5 * (1 + 1e-7 * normal(200, 1)) * normal(1, 20, seed=1)
    z = (z + 1e-7 * normal(200, 20, seed=2)).float()
    assert len(z.unique(dim=0)) > 100
    assert alpha_req(z) == pytest.approx(12 * math.log(10) / math.log(2))
    assert lidar(z.view(50, 4, 20)) == 1


def test_one_direction_and_two_items_decay_the_fastest():
    steepest = 12 * math.log(10) / math.log(2)
    assert alpha_req(normal(300, 1) * normal(1, 32, seed=1)) == pytest.approx(steepest)
    assert alpha_req(normal(300, 1)) == pytest.approx(steepest)
    assert alpha_req(normal(2, 32)) == pytest.approx(steepest)
    assert alpha_req(normal(300, 4)) < 1  # while four directions that are all used do not


def test_errors_say_what_is_wrong():
    z = normal(10, 4)
    for measure in (rankme, alpha_req):
        with pytest.raises(ValueError, match=rf"{measure.__name__} got \(1, 4\)"):
            measure(z[:1])
        with pytest.raises(ValueError, match=rf"{measure.__name__} got \(10,\)"):
            measure(z[:, 0])
        with pytest.raises(ValueError, match=f"{measure.__name__}: the features hold NaN"):
            measure(torch.where(z > 1, math.nan, z))
    with pytest.raises(ValueError, match=r"ranks=\(4, 4\)"):
        alpha_req(z, ranks=(4, 4))
    with pytest.raises(ValueError, match=r"lidar got \(10, 1, 4\)"):
        lidar(z[:, None])
    with pytest.raises(ValueError, match="delta=0"):
        lidar(z.view(5, 2, 4), delta=0)
    with pytest.raises(ValueError, match="lidar: the features hold NaN"):
        lidar(torch.full((3, 2, 4), math.inf))
