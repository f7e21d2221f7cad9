import math

import numpy as np
import pytest
import torch

from pretext.evaluation.fitness import Zipf
from pretext.evaluation.solvers.nearest_neighbours import on_sphere
from pretext.evaluation.zipf import masses_of, zipf_kl, zipf_kl_of


def law(k, s=1.0):
    q = torch.arange(1, k + 1).double() ** -s
    return q / q.sum()


def clusters(sizes, dim=32, spread=0.02, seed=0):
    """Features around orthogonal directions, so many around each, at random distances from the origin."""
    rng = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=rng)).Q
    centres = axes[: len(sizes)].repeat_interleave(torch.tensor(sizes), 0)
    z = centres + spread * torch.randn(centres.shape, generator=rng)
    return z * (0.1 + 10 * torch.rand(len(z), 1, generator=rng))


ZIPFIAN = [252, 126, 84, 63, 50, 42, 36, 31, 28, 25]  # 1/i for ten clusters, in whole items


@pytest.mark.parametrize(("k", "equal", "single"), [(10, 0.2825, 1.075), (50, 0.5614, 1.504), (400, 0.892, 1.883)])
def test_equal_masses_and_a_single_one_have_the_known_divergence(k, equal, single):
    assert zipf_kl_of(torch.full((k,), 1 / k)) == pytest.approx(equal, abs=5e-4)
    assert zipf_kl_of(torch.eye(k)[k // 2]) == pytest.approx(single, abs=5e-4)


@pytest.mark.parametrize("s", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("k", [1, 2, 13])
def test_closed_forms_for_any_exponent(k, s):
    harmonic = sum(i**-s for i in range(1, k + 1))
    equal = math.log(harmonic / k) + s / k * math.lgamma(k + 1)
    assert zipf_kl_of(torch.full((k,), 1 / k), s) == pytest.approx(equal, abs=1e-6)
    assert zipf_kl_of(torch.eye(k)[0], s) == pytest.approx(math.log(harmonic), abs=1e-6)


@pytest.mark.parametrize("s", [0.5, 1.0, 1.5])
def test_the_divergence_is_0_for_zipfs_law_in_any_order_and_for_nothing_else(s):
    p, rng = law(20, s), torch.Generator().manual_seed(0)
    assert zipf_kl_of(p, s) == pytest.approx(0, abs=1e-12)
    for _ in range(20):
        assert zipf_kl_of(p[torch.randperm(20, generator=rng)], s) == pytest.approx(0, abs=1e-12)
        other = p * torch.empty(20).uniform_(0.8, 1.2, generator=rng)
        assert zipf_kl_of(other / other.sum(), s) > 1e-5


def test_the_order_of_masses_does_not_matter():
    p, rng = torch.rand(30, generator=torch.Generator().manual_seed(1)).softmax(0), torch.Generator().manual_seed(0)
    values = {round(zipf_kl_of(p[torch.randperm(30, generator=rng)]), 10) for _ in range(10)}
    assert len(values) == 1


def test_clusters_of_zipfs_sizes_follow_the_law_and_equal_ones_do_not():
    found = zipf_kl(clusters(ZIPFIAN), k=10)
    assert found.kl < 1e-3
    assert torch.allclose(found.masses, torch.tensor(ZIPFIAN).double() / sum(ZIPFIAN), atol=2e-3)
    equal = zipf_kl(clusters([70] * 10, spread=1e-3), k=10)
    assert equal.kl == pytest.approx(0.2825, abs=1e-3)
    assert equal.rank == pytest.approx(10, rel=0.1)


def test_the_exponent_and_the_temperature_are_asked_for():
    z = clusters([round(1000 * x) for x in law(8, 2.0).tolist()])
    assert zipf_kl(z, k=8, s=2.0).kl < 0.005 < 0.2 < zipf_kl(z, k=8).kl
    # Each item 2 from the other nine centroids and 0 from its own: masses (1 + 9 share) / (1 + 9) of a two-step mean.
    soft = zipf_kl(clusters(ZIPFIAN, spread=0), k=10, temperature=1.0).masses
    own = 1 / (1 + 9 * math.exp(-2))
    sizes = torch.tensor(ZIPFIAN).double() / sum(ZIPFIAN)
    assert torch.allclose(soft, sizes * own + (1 - sizes) * (1 - own) / 9, atol=1e-5)


@pytest.mark.parametrize(("apart", "own"), [(0.5, 1 / (1 + math.exp(-0.25))), (3.0, 1 / (1 + math.exp(-9.0)))])
def test_the_fitness_as_printed_is_that_of_raw_features_at_temperature_1(apart, own):
    """Two points on a line, three items at one and one at the other: softmax of -(x - c)^2, averaged over the items."""
    z = torch.tensor([[1.0], [1], [1], [1 + apart]])
    printed = masses_of(z, 2, temperature=1.0, normalise=False)
    assert printed.tolist() == pytest.approx([(3 * own + 1 - own) / 4, (own + 3 * (1 - own)) / 4], abs=1e-6)
    assert zipf_kl(z, 2, temperature=1.0, normalise=False).kl == pytest.approx(zipf_kl_of(printed), abs=1e-9)
    fit = Zipf(k=2, temperature=1.0, normalise=False, floor=1, clusterings=2)(z, torch.empty(0))
    assert -fit.value == pytest.approx(zipf_kl_of(printed), abs=1e-9)
    on_one_side = masses_of(z, 2, temperature=1.0)  # on the sphere all four are the same point
    assert on_one_side.tolist() == pytest.approx([0.5, 0.5])


def test_collapse_looks_like_equal_clusters_and_the_rank_tells():
    for z in (torch.ones(300, 8), torch.zeros(300, 8)):
        collapsed = zipf_kl(z, k=10)
        assert collapsed.kl == pytest.approx(0.2825, abs=1e-3)
        assert collapsed.rank == pytest.approx(1, abs=1e-4)


def test_scale_of_the_items_does_not_matter_and_rotation_of_clusters_neither():
    z = clusters(ZIPFIAN, spread=0.1)
    plain = zipf_kl(z, k=10)
    scaled = zipf_kl(z * 2.0 ** torch.randint(-30, 30, (len(z), 1), generator=torch.Generator().manual_seed(2)), k=10)
    assert torch.equal(plain.masses, scaled.masses)
    turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(3))).Q
    assert zipf_kl(z @ turn, k=10).kl == pytest.approx(plain.kl, abs=1e-4)


def test_chance_comes_from_the_seed_alone():
    z = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  # the global one is meant
    first = zipf_kl(z, k=20, seed=1)
    assert torch.equal(first.masses, zipf_kl(z, k=20, seed=1).masses)
    assert not torch.equal(first.masses, zipf_kl(z, k=20, seed=2).masses)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


def test_lengths_survive_any_scale():
    x = on_sphere(torch.tensor([[3e-30, 4e-30], [3e30, 4e30], [0, 0]]))
    assert torch.allclose(x, torch.tensor([[0.6, 0.8], [0.6, 0.8], [0, 0]]))


def test_errors_say_what_is_wrong():
    z = torch.randn(10, 4)
    for options in ({"k": 11}, {"k": 1}, {"k": 2, "temperature": 0}, {"k": 2, "restarts": 0}):
        with pytest.raises(ValueError, match=rf"zipf_kl got k={options['k']}.* 10 items"):
            zipf_kl(z, **options)
    with pytest.raises(ValueError, match="zipf_kl: the features hold NaN"):
        zipf_kl(z * math.nan, k=2)
    for masses in ([0.5, 0.6], [1.5, -0.5], [], [math.nan, 1]):
        with pytest.raises(ValueError, match=r"zipf_kl_of got masses of shape .* divide by their sum"):
            zipf_kl_of(torch.tensor(masses))
