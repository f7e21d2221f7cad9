import math

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from pretext.evaluation.fitness import NEIGHBOURS, EffectiveRank, FewLabels, Fit, Fitness, Zipf, worst_kl
from pretext.evaluation.kmeans import named_by
from pretext.evaluation.rank import rankme
from pretext.evaluation.solvers.nearest_neighbours import on_sphere
from pretext.evaluation.statistics.intervals import wilson
from pretext.evaluation.zipf import zipf_kl, zipf_kl_of

NONE = torch.empty(0, dtype=torch.int64)
ZIPFIAN = [252, 126, 84, 63, 50, 42, 36, 31, 28, 25]  # 1/i for ten clusters, in whole items


def clusters(sizes, dim=32, spread=0.02):
    """Features around orthogonal directions, so many around each, at random distances from the origin."""
    rng = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=rng)).Q
    centres = axes[: len(sizes)].repeat_interleave(torch.tensor(sizes), 0)
    z = centres + spread * torch.randn(centres.shape, generator=rng)
    return z * (0.1 + 10 * torch.rand(len(z), 1, generator=rng))


def uniform(n, dim, low=-1.0, seed=0):
    return low + (1 - low) * torch.rand(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy(pixels).float(), torch.from_numpy(labels)


# The law


def test_clusters_of_zipfs_sizes_are_fitter_than_equal_ones_and_those_than_one_that_dominates():
    law, equal = Zipf(k=10)(clusters(ZIPFIAN), NONE), Zipf(k=10)(clusters([74] * 10), NONE)
    one = Zipf(k=10)(clusters([728] + [1] * 9), NONE)
    assert -1e-3 < law.value <= 0
    assert equal.value == pytest.approx(-0.2825, abs=2e-3)
    assert one.value < equal.value - 0.1  # also where the guard lets it pass, as here
    assert law.facts["guarded"] == equal.facts["guarded"] == one.facts["guarded"] == 0
    assert all(math.isclose(fit.value, -fit.facts["zipf_kl"]) for fit in (law, equal, one))


@pytest.mark.parametrize(("k", "known"), [(10, 0.2825), (50, 0.5614), (400, 0.892)])
def test_equal_features_have_the_known_divergence_where_the_guard_is_off(k, known):
    assert Zipf(k=k, floor=1, clusterings=1)(torch.ones(500, 8), NONE).value == pytest.approx(-known, abs=5e-4)
    assert Zipf(k=k, floor=1, clusterings=1)(torch.zeros(500, 1), NONE).facts["guarded"] == 0


@pytest.mark.parametrize("s", [0.0, 0.5, 1.0, 1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("k", [2, 7, 50])
def test_no_sorted_masses_are_further_from_the_law_than_the_worst(k, s):
    worst, rng = worst_kl(k, s), torch.Generator().manual_seed(0)
    corners = [zipf_kl_of(torch.arange(k).lt(m).double() / m, s) for m in range(1, k + 1)]
    assert max(corners) == pytest.approx(worst, abs=1e-9)
    for power in (0.1, 1, 10, 100):  # from masses that are nearly equal to a single one
        for _ in range(50):
            masses = torch.rand(k, generator=rng, dtype=torch.float64).pow(power)
            assert zipf_kl_of(masses / masses.sum(), s) <= worst + 1e-9


def test_all_in_one_cluster_is_the_worst_up_to_the_exponent_1_and_not_beyond():
    for k in (2, 10, 50, 400):
        assert worst_kl(k) == pytest.approx(math.log(sum(1 / i for i in range(1, k + 1))))
    assert worst_kl(50, 2) > 5 * math.log(sum(i**-2 for i in range(1, 51)))


def test_the_exponent_is_that_of_the_law_and_of_the_guard():
    steep = clusters([round(1000 * i**-2) for i in range(1, 9)], spread=1e-3)
    assert Zipf(k=8, s=2, floor=1)(steep, NONE).value > -5e-3 > -0.2 > Zipf(k=8, floor=1)(steep, NONE).value
    collapsed = Zipf(k=20, s=2)(torch.ones(100, 8), NONE)
    assert collapsed.value == pytest.approx(-worst_kl(20, 2) - math.log(4), abs=1e-4)


def test_order_scale_and_rotation_do_not_matter():
    z, rng = clusters(ZIPFIAN), torch.Generator().manual_seed(1)
    plain = Zipf(k=10)(z, NONE)
    assert Zipf(k=10)(z[torch.randperm(len(z), generator=rng)], NONE).value == pytest.approx(plain.value, abs=1e-4)
    assert Zipf(k=10)(z * 2.0 ** torch.randint(-30, 30, (len(z), 1), generator=rng), NONE) == plain
    turn = torch.linalg.qr(torch.randn(32, 32, generator=rng)).Q
    assert Zipf(k=10)(z @ turn, NONE).value == pytest.approx(plain.value, abs=1e-4)


def test_the_divergence_is_the_mean_of_clusterings_and_chance_comes_from_the_seed_alone(digits):
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  # the global one is meant
    three = Zipf(clusterings=3, seed=4)(digits[0], NONE)
    assert three == Zipf(clusterings=3, seed=4)(digits[0], NONE)
    assert three != Zipf(clusterings=3, seed=5)(digits[0], NONE)
    singles = [Zipf(clusterings=1, seed=seed)(digits[0], NONE).value for seed in range(12)]
    triples = [Zipf(clusterings=3, seed=seed)(digits[0], NONE).value for seed in range(12)]
    assert np.std(triples) < np.std(singles)
    assert np.mean(triples) == pytest.approx(np.mean(singles), abs=3 * np.std(singles) / math.sqrt(12))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


# The guard


def test_the_guard_is_below_everything_and_falls_as_features_collapse():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(600, 32, generator=rng)
    fits = [Zipf(k=20)(torch.ones(600, 32) + e * noise, NONE) for e in (0.3, 0.03, 0.01, 0.003, 0.001)]
    assert [fit.facts["guarded"] for fit in fits] == [0, 1, 1, 1, 1]
    ranks, values = [fit.facts["rankme"] for fit in fits], [fit.value for fit in fits]
    assert ranks == sorted(ranks, reverse=True)
    assert values == sorted(values, reverse=True)
    for fit in fits[1:]:
        assert fit.value < -worst_kl(20)
        assert fit.value == pytest.approx(
            -math.log(sum(1 / i for i in range(1, 21))) - math.log(4 / fit.facts["rankme"])
        )


def test_the_guard_begins_at_the_floor():
    z = clusters(ZIPFIAN)
    rank = zipf_kl(z, k=10).rank
    above, below = Zipf(k=10, floor=rank * 1.0001)(z, NONE), Zipf(k=10, floor=rank * 0.9999)(z, NONE)
    assert (above.facts["guarded"], below.facts["guarded"]) == (1, 0)
    assert above.value == pytest.approx(-worst_kl(10), abs=2e-4)
    assert above.value < -worst_kl(10)
    assert below.value == -below.facts["zipf_kl"]


def test_one_point_with_a_little_noise_is_as_good_as_balanced_clusters_and_the_guard_sees_it():
    point = torch.ones(1000, 64) + 1e-3 * torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
    honest, collapsed = Zipf()(clusters([20] * 50, dim=64, spread=1e-3), NONE), Zipf()(point, NONE)
    assert collapsed.facts["zipf_kl"] == pytest.approx(0.5614, abs=1e-3)
    assert collapsed.facts["zipf_kl"] <= honest.facts["zipf_kl"] + 1e-3
    assert (collapsed.facts["guarded"], honest.facts["guarded"]) == (1, 0)
    assert collapsed.facts["rankme"] < 1.2 < 40 < honest.facts["rankme"]
    # What is left of a collapsed set less its mean is noise of full rank, so the features must not be centred.
    assert rankme(point - point.mean(0)) > 60


def test_uniform_noise_of_few_dimensions_clusters_as_well_as_real_features_and_the_guard_sees_it(digits):
    """Chance of k-means is some hundredths. On a line all is noise of rounding about two points, and so is its `kl`."""
    real = Zipf()(digits[0], NONE)
    wide = torch.linalg.qr(uniform(64, 64, seed=1)).Q
    line, cube = uniform(1797, 1) @ wide[:1], uniform(1797, 3, low=0) @ wide[:3]
    equal = zipf_kl_of(torch.full((50,), 1 / 50))  # the most that two points can have
    for noise, most in ((line, equal + 1e-3), (cube, real.facts["zipf_kl"] + 0.05)):
        fit = Zipf()(noise, NONE)
        assert fit.facts["zipf_kl"] < most
        assert fit.facts["rankme"] < 4
        assert fit.facts["guarded"] == 1
        assert fit.value < -worst_kl(50) < real.value
    assert real.facts["guarded"] == 0


@pytest.mark.parametrize("dim", [16, 64])
def test_uniform_noise_of_full_rank_passes_the_floor_but_clusters_worse_than_real_features(digits, dim):
    noise, real = Zipf()(uniform(1797, dim), NONE), Zipf()(digits[0], NONE)
    assert noise.facts["guarded"] == 0  # its rank is above every floor
    assert noise.facts["rankme"] == pytest.approx(dim, rel=0.02)
    assert 0.47 < noise.facts["zipf_kl"] < worst_kl(50)  # nearly equal clusters: 0.56
    assert noise.value < real.value - 0.05


def test_with_few_items_per_cluster_noise_clusters_well_and_only_the_ceiling_sees_it(digits):
    noise, real = uniform(100, 64), digits[0][:100]
    assert Zipf()(noise, NONE).value > Zipf()(uniform(2000, 64), NONE).value + 0.15  # two items instead of forty
    assert Zipf()(noise, NONE).value > Zipf()(real, NONE).value - 0.05
    caught, kept = Zipf(ceiling=0.7)(noise, NONE), Zipf(ceiling=0.7)(real, NONE)
    assert (caught.facts["guarded"], kept.facts["guarded"]) == (1, 0)
    assert kept == Zipf()(real, NONE)
    assert caught.value == pytest.approx(-worst_kl(50) - math.log(caught.facts["rankme"] / (0.7 * 64)))
    fewer = Zipf(ceiling=0.7)(uniform(100, 300), NONE)  # its rank is at most 100: of items, not of features
    assert fewer.value == pytest.approx(-worst_kl(50) - math.log(fewer.facts["rankme"] / 70))
    heavy = (2.5 * torch.randn(2000, 64, generator=torch.Generator().manual_seed(0))).exp()
    assert Zipf()(heavy, NONE).value > Zipf()(digits[0], NONE).value
    assert Zipf(ceiling=0.7)(heavy, NONE).facts["guarded"] == 1


def test_a_ceiling_of_1_refuses_nothing():
    z = torch.eye(16).repeat(10, 1)  # isotropic: RankMe is 16 and a hair
    assert rankme(z) > 16
    assert Zipf(k=4)(z, NONE).facts == {
        "zipf_kl": pytest.approx(Zipf(k=4)(z, NONE).facts["zipf_kl"]),
        "rankme": 16,
        "guarded": 0,
    }


# Rank alone


def test_rank_alone_is_that_of_the_directions_used():
    noise = torch.randn(5000, 20, generator=torch.Generator().manual_seed(0))
    assert EffectiveRank()(noise, NONE).value == pytest.approx(20, rel=0.01)
    assert EffectiveRank()(torch.eye(7).repeat(3, 1), NONE).value == pytest.approx(7, rel=1e-4)
    assert EffectiveRank()(torch.ones(30, 20), NONE).value == pytest.approx(1, abs=1e-4)
    assert EffectiveRank()(noise[:, :5] @ torch.ones(5, 20), NONE).value < 1.1
    scaled = EffectiveRank()(noise * 1e-4, NONE)
    assert scaled.facts == {"rankme": scaled.value}
    assert scaled.value == pytest.approx(EffectiveRank()(noise, NONE).value)


# A few labels


@pytest.mark.parametrize("protocol", ["knn", "probe"])
def test_labels_as_features_are_all_named_right_and_noise_at_chance(protocol):
    y = torch.arange(1000) % 5
    seen = torch.nn.functional.one_hot(y).float()
    assert FewLabels(protocol)(seen, y) == Fit(1.0, {"accuracy": 1.0, "chance": 0.2, "classes": 5.0})
    noise = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    low, high = wilson(200, 1000, confidence=0.9999)
    assert low < FewLabels(protocol, draws=2, asked=None)(noise, y).value < high
    same = FewLabels(protocol, draws=2, asked=None)(torch.ones(1000, 16), y)  # collapsed: one answer for all
    assert same.value == pytest.approx(0.2)


def given_and_asked(monkeypatch, protocol, *arguments, **options):
    """Run a fitness and return what each draw let its classifier learn from and asked it about, as item numbers."""
    import pretext.evaluation.fitness as module

    calls, real = [], getattr(module, protocol)

    def watched(train, labels, test, *rest, **named):
        calls.append((train[:, 0].long(), labels, test[:, 0].long()))
        return real(train, labels, test, *rest, **named)

    monkeypatch.setattr(module, protocol, watched)
    FewLabels(protocol, **({"asked": None} | options))(*arguments)
    monkeypatch.undo()
    return calls


@pytest.mark.parametrize("protocol", ["knn", "probe"])
def test_exactly_so_many_labels_of_each_class_are_given_and_all_others_asked_about(monkeypatch, protocol):
    y = torch.cat([torch.full((n,), label) for n, label in ((40, 3), (30, 7), (6, 8), (5, 1), (2, 9), (20, -1))])
    z = torch.stack([torch.arange(len(y)).float(), y.float()], 1)  # the first feature is the item's number
    calls = given_and_asked(monkeypatch, protocol, z, y, labels=5, draws=4)
    usable = {i for i, label in enumerate(y.tolist()) if label in (3, 7, 8)}  # five of 1 and two of 9: none left to ask
    for given, labels, asked in calls:
        assert torch.equal(labels, y[given])
        assert sorted(labels.tolist()) == [3] * 5 + [7] * 5 + [8] * 5
        assert not set(given.tolist()) & set(asked.tolist())
        assert set(given.tolist()) | set(asked.tolist()) == usable
        assert len(asked) == 35 + 25 + 1
    assert len({tuple(sorted(given.tolist())) for given, _, _ in calls}) == 4  # the draws differ
    facts = FewLabels(protocol, labels=5, asked=None)(z, y).facts
    assert (facts["classes"], facts["chance"]) == (3, 35 / 61)


def test_no_more_labels_are_looked_at_than_it_says(monkeypatch):
    y = torch.arange(1000) % 5
    z = torch.stack([torch.arange(1000).float(), y.float()], 1)
    calls = given_and_asked(monkeypatch, "knn", z, y, labels=5, asked=3, draws=4)
    used = [set(given.tolist()) | set(asked.tolist()) for given, _, asked in calls]
    assert all(items == used[0] for items in used)  # another draw divides the same few labels anew
    assert torch.equal(y[sorted(used[0])].bincount(), torch.full((5,), 8))
    assert len({tuple(sorted(given.tolist())) for given, _, _ in calls}) == 4


def test_draws_depend_on_the_seed_and_the_labels_alone(monkeypatch):
    y, number = torch.arange(60) % 3, torch.arange(60).float()[:, None]
    seen = [given_and_asked(monkeypatch, "knn", z, y, labels=4, draws=2, seed=seed) for z, seed in (
        (torch.cat([number, number], 1), 0), (torch.cat([number, -number], 1), 0), (torch.cat([number, number], 1), 1)
    )]  # fmt: skip
    first, other, reseeded = [[given.tolist() for given, _, _ in calls] for calls in seen]
    assert first == other != reseeded
    more = torch.cat([y, torch.full((20,), 5)])  # a class more changes nothing for the others
    calls = given_and_asked(monkeypatch, "knn", torch.arange(80.0)[:, None], more, labels=4, draws=2)
    assert [given[given < 60].tolist() for given, _, _ in calls] == first


def test_few_labels_are_scikit_learns_classifiers_on_the_same_items(monkeypatch, digits):
    x, y = digits
    numbered = torch.arange(len(y)).float()[:, None]
    given, labels, asked = given_and_asked(monkeypatch, "knn", numbered, y, draws=1)[0]
    unit = on_sphere(x).double().numpy()
    nearest = KNeighborsClassifier(
        NEIGHBOURS, metric="cosine", algorithm="brute", weights=lambda distance: math.e ** ((1 - distance) / 0.07)
    ).fit(unit[given], labels.numpy())
    expected = nearest.score(unit[asked], y[asked].numpy())
    assert FewLabels(draws=1, asked=None)(x, y).value == pytest.approx(expected, abs=2e-3)
    deviation = x[given].std(0, correction=0).where(x[given].std(0) > 0, torch.tensor(1.0))
    z = ((x - x[given].mean(0)) / deviation).numpy()
    best = max(
        LogisticRegression(C=1 / (100 * l2), max_iter=500).fit(z[given], labels).score(z[asked], y[asked])
        for l2 in (1e-2, 1e-1, 1)
    )
    assert FewLabels("probe", draws=1, asked=None)(x, y).value == pytest.approx(best, abs=0.03)
    assert FewLabels("probe", asked=None)(x, y).value > 0.85


def test_the_weakly_guided_fitness_is_the_accuracy_of_k_means():
    """Five clusters of 20; of one class every fifth item lies in the next cluster, so 4 of 20 are named wrongly."""
    y = torch.arange(5).repeat_interleave(20)
    home = torch.where((y == 2) & (torch.arange(100) % 5 == 0), 3, y)
    z = clusters([1] * 5, spread=0)[home] + 0.01 * uniform(100, 32)
    fit = FewLabels("kmeans", labels=5, draws=40, asked=None)(z, y)
    assert fit.value == pytest.approx(96 / 100, abs=4 * 0.03 / 40**0.5)  # a draw deviates by less than 0.03
    assert FewLabels("kmeans", labels=5)(z, home).value == 1
    again = FewLabels("kmeans", labels=5, draws=40, asked=None)(z, y)
    assert again.value == fit.value
    moons = torch.stack([torch.arange(100.0) % 5, torch.ones(100)], 1)  # all labels at every place
    assert FewLabels("kmeans", labels=5, draws=20)(moons, y).value == pytest.approx(0.2, abs=0.1)


def test_clusters_are_named_by_most_of_their_few_items_or_by_the_nearest_that_has_some():
    centroids = torch.tensor([[0.0], [10], [11]]).double()
    learnt, labels = torch.tensor([[0.0], [0.1], [0.2], [10.1]]), torch.tensor([4, 1, 1, 3])
    asked = torch.tensor([[-1.0], [9], [12]])
    assert named_by(centroids, learnt, labels, asked).tolist() == [1, 3, 3]


# The manners of all


class Length(Fitness):
    """A plug-in: the fewer items, the fitter."""

    def __init__(self, unit: int = 1) -> None:
        self.unit = unit

    def __call__(self, z, labels):
        return Fit(-len(z) / self.unit, {})


def test_a_config_builds_them_and_plug_ins_by_class_path():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Fitness, "fitness")

    def built(path, **options):
        return parser.instantiate(parser.parse_object({"fitness": {"class_path": path, "init_args": options}})).fitness

    zipf, few = built("pretext.evaluation.fitness.Zipf", k=12), built("pretext.evaluation.fitness.FewLabels", labels=3)
    assert (zipf.k, zipf.needs_labels) == (12, False)
    assert (few.labels, few.needs_labels) == (3, True)
    assert not built("pretext.evaluation.fitness.EffectiveRank").needs_labels
    assert built(f"{__name__}.Length", unit=5)(torch.ones(10, 2), NONE) == Fit(-2.0, {})


@pytest.mark.parametrize(
    "fitness",
    [Zipf(k=5), EffectiveRank(), FewLabels(), FewLabels("probe"), FewLabels("kmeans")],
    ids=lambda f: str(type(f).__name__),
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_floats_give_the_same_and_the_input_is_left_alone(fitness, dtype, digits):
    x, y = digits[0][:300], digits[1][:300]
    labels = y if fitness.needs_labels else NONE
    z = x.to(dtype)
    before = z.clone()
    assert fitness(z, labels).value == pytest.approx(fitness(x, labels).value, abs=1e-3)
    assert torch.equal(z, before)


@pytest.mark.parametrize("fitness", [Zipf(k=5), EffectiveRank(), FewLabels()], ids=lambda f: str(type(f).__name__))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(fitness, bad):
    z = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    z[7, 3] = bad
    with pytest.raises(ValueError, match="features hold NaN or infinity"):
        fitness(z, torch.arange(60) % 2)


def test_errors_say_what_is_wrong():
    z, y = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 2
    with pytest.raises(ValueError, match=r"Zipf got 30 items for k=50 clusters; give it a larger unlabelled set"):
        Zipf()(z, NONE)
    with pytest.raises(ValueError, match=r"Zipf got 30 items of 3 features.* 4 or more and 3 or less; lower floor=4"):
        Zipf(k=5)(z[:, :3], NONE)
    for options in ({"k": 1}, {"s": -1.0}, {"temperature": 0.0}, {"floor": 0.5}, {"ceiling": 1.1}, {"clusterings": 0},
                    {"floor": math.nan}):  # fmt: skip
        name, value = next(iter(options.items()))
        with pytest.raises(ValueError, match=rf"Zipf got .*{name}={value}.* it wants"):
            Zipf(**options)
    for options in ({"labels": 0}, {"draws": 0}, {"protocol": "probe", "labels": 1}, {"protocol": "svm"}):
        with pytest.raises(ValueError, match=r"FewLabels got protocol=.* it wants 'knn'"):
            FewLabels(**options)
    for labels in (NONE, y[:20], y[:, None], y.float()):
        with pytest.raises(ValueError, match=r"FewLabels got labels of shape .* a whole number for each"):
            FewLabels()(z, labels)
    with pytest.raises(ValueError, match=r"labels=15 and 2 classes, the largest of \[15, 15\] items; .* lower labels"):
        FewLabels(labels=15)(z, y)
    with pytest.raises(ValueError, match=r"labels=10 and 1 classes, the largest of \[15\]"):
        FewLabels()(z, y.where(y == 1, -1))
