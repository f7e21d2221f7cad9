import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import cosine_similarity

from pretext.evaluation.solvers.nearest_neighbours import knn, neighbours
from pretext.evaluation.statistics.intervals import wilson


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(pixels).float(), torch.from_numpy(labels)
    return x[:1000], y[:1000], x[1000:], y[1000:]


def test_every_item_is_its_own_nearest_neighbour(digits):
    x, y, _, _ = digits
    assert torch.equal(knn(x, y, x, ks=[1])[1], y)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_equal_votes_are_scikit_learns_classifier(digits, k):
    x, y, test, _ = digits
    reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(x.double().numpy(), y.numpy())
    expected = torch.from_numpy(reference.predict(test.double().numpy()))
    assert torch.equal(knn(x, y, test, ks=[k], temperature=math.inf)[k], expected)


def test_weighted_votes_are_scikit_learns_with_the_same_weights(digits):
    x, y, test, _ = digits
    reference = KNeighborsClassifier(
        200, metric="cosine", algorithm="brute", weights=lambda distance: math.e ** ((1 - distance) / 0.07)
    ).fit(x.double().numpy(), y.numpy())
    expected = torch.from_numpy(reference.predict(test.double().numpy()))
    assert torch.equal(knn(x, y, test, ks=[200])[200], expected)


def test_one_close_neighbour_outvotes_two_that_are_further_away():
    # Cosines 1, 0.9, 0.9. Votes: 1 against 2 exp(-0.1 / 0.07) = 0.48; unweighted 1 against 2.
    side = math.sqrt(1 - 0.9**2)
    train = torch.tensor([[1.0, 0, 0], [0.9, side, 0], [0.9, 0, side]])
    labels, test = torch.tensor([7, 3, 3]), torch.tensor([[1.0, 0, 0]])
    assert knn(train, labels, test, ks=[3])[3].item() == 7
    assert knn(train, labels, test, ks=[3], temperature=math.inf)[3].item() == 3


@pytest.mark.parametrize("factor", [1e-20, 1e-3, 1e20])
def test_the_length_of_features_does_not_matter(digits, factor):
    x, y, test, _ = digits
    lengths = factor * (1 + torch.arange(len(x)) % 7)[:, None]
    plain, scaled = knn(x, y, test), knn(x * lengths, y, test * factor)
    for k in plain:
        assert (plain[k] == scaled[k]).float().mean() > 0.997  # rounding may turn a tie


def test_searching_block_by_block_finds_the_same_neighbours(digits):
    x, _, test, _ = digits
    everything = cosine_similarity(test[:100, None].double(), x[None].double(), dim=2)
    cosines, index = neighbours(x, test[:100], 30, rows=7, columns=13)
    assert torch.allclose(cosines.double(), everything.topk(30).values, atol=1e-6)
    assert torch.allclose(everything.gather(1, index), cosines.double(), atol=1e-6)
    assert all(len(set(row)) == 30 for row in index.tolist())


def test_more_neighbours_than_items_means_all_of_them(digits):
    x, y, test, _ = digits
    both = knn(x[:50], y[:50], test, ks=[50, 200])
    assert torch.equal(both[50], both[200])


def test_random_features_stay_at_chance():
    rng = torch.Generator().manual_seed(0)
    x, test = torch.randn(1000, 32, generator=rng), torch.randn(2000, 32, generator=rng)
    y, answers = torch.arange(1000) % 10, torch.arange(2000) % 10
    for k, predictions in knn(x, y, test).items():
        low, high = wilson(int((predictions == answers).sum()), 2000, confidence=0.9999)
        assert low < 0.1 < high, f"k={k}"


def test_errors_say_what_is_wrong():
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="0 training and 4 test items"):
        knn(x[:0], y[:0], x)
    with pytest.raises(ValueError, match=r"test \(4, 2\)"):
        knn(x, y, x[:, :2])
    with pytest.raises(ValueError, match="train features hold NaN"):
        knn(x / 0 * 0, y, x)
    with pytest.raises(ValueError, match=r"ks=\(0,\)"):
        knn(x, y, x, ks=[0])
