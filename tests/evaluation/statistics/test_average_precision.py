import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve

from pretext.evaluation.statistics.average_precision import average_precision, mean_average_precision


def draws(count, share, seed, levels=None):
    """Scores that tell something about labels; of `levels` only so many different ones, so that many are equal."""
    rng = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=rng) < share).to(torch.int8)
    scores = torch.randn(count, generator=rng, dtype=torch.float64) + labels
    return (scores if levels is None else (scores * levels / 4).round()), labels


@pytest.mark.parametrize(
    ("ranking", "area"),
    [
        ([1, 1, 0, 0], 1),
        ([0, 0, 1, 1], 1 / 2),  # precision 1/3, then 1/2, which is what the first recall can have too
        ([1, 0, 1, 0, 1], (1 + 2 / 3 + 3 / 5) / 3),
        ([0, 1, 1], 2 / 3),  # scikit-learn: (1/2 + 2/3) / 2
        ([0, 1, 0, 1, 1, 0, 1], (3 / 5 + 3 / 5 + 3 / 5 + 4 / 7) / 4),
        ([0, 0, 0, 1], 1 / 4),
    ],
)
def test_rankings_worked_out_by_hand(ranking, area):
    scores = torch.arange(len(ranking), 0, -1).double()
    assert average_precision(scores, torch.tensor(ranking)) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize("levels", [None, 40, 8, 2])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_it_is_the_area_under_the_best_of_scikit_learns_precisions_from_each_recall_on(levels, share):
    scores, labels = draws(500, share, seed=3, levels=levels)
    precision, recall, _ = precision_recall_curve(labels.numpy(), scores.numpy())  # recall falls from 1 to 0
    area = -np.sum(np.diff(recall) * np.maximum.accumulate(precision)[:-1])
    assert average_precision(scores, labels) == pytest.approx(area, abs=1e-12)
    assert average_precision(scores, labels) >= average_precision_score(labels.numpy(), scores.numpy()) - 1e-12


def test_it_is_scikit_learns_where_precision_only_falls():
    labels = torch.tensor([1] * 5 + [0, 1] * 3 + [0, 0, 1] * 4 + [0] * 9)
    scores = torch.arange(len(labels), 0, -1).double()
    expected = average_precision_score(labels.numpy(), scores.numpy())
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_the_order_of_items_of_one_score_does_not_matter():
    scores, labels = draws(200, 0.3, seed=0, levels=6)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert average_precision(scores[order], labels[order]) == average_precision(scores, labels)
    best_first = labels.argsort(descending=True, stable=True)
    assert average_precision(scores[best_first], labels[best_first]) == average_precision(scores, labels)


def test_scores_that_say_nothing_give_the_share_of_present_items():
    labels = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0])
    assert average_precision(torch.zeros(8), labels) == 2 / 8


def test_only_the_order_of_scores_counts():
    scores, labels = draws(300, 0.2, seed=5)
    assert average_precision(scores.exp() * 7 - 3, labels) == average_precision(scores, labels)


def test_items_that_are_not_judged_do_not_exist():
    scores, labels = draws(300, 0.2, seed=6)
    hidden = torch.arange(300) % 5 == 0
    unjudged = labels.clone()
    unjudged[hidden] = -1
    expected = average_precision(scores[~hidden], labels[~hidden])
    assert average_precision(scores, unjudged) == expected != average_precision(scores, labels)
    found = mean_average_precision(scores[:, None], unjudged[:, None])
    assert found.value == expected
    assert found.low < expected < found.high


def test_the_mean_is_over_classes():
    scores, labels = (
        torch.stack(parts, 1) for parts in zip(*(draws(400, 0.2, seed) for seed in range(5)), strict=True)
    )
    found = mean_average_precision(scores, labels)
    assert found.each == [average_precision(scores[:, k], labels[:, k]) for k in range(5)]
    assert found.value == pytest.approx(np.mean(found.each))
    assert found.low < found.value < found.high


def test_a_perfect_ranking_leaves_no_doubt_in_the_interval():
    labels = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]] * 10)
    assert mean_average_precision(labels.double(), labels)[:3] == (1, 1, 1)


@pytest.mark.parametrize(("classes", "items"), [(1, 500), (8, 300)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(classes, items):
    truth = average_precision(*draws(1_000_000, 0.3, seed=0))
    covered = 0
    for seed in range(60):
        sets = [draws(items, 0.3, 1 + classes * seed + k) for k in range(classes)]
        scores, labels = (torch.stack(parts, 1) for parts in zip(*sets, strict=True))
        found = mean_average_precision(scores, labels, resamples=100)
        assert found.low <= found.value <= found.high
        covered += found.low <= truth <= found.high
    assert covered >= 48  # 57 are expected, fewer for bias: 52 with 8 classes, where percentiles would cover it in 42


def test_classes_of_the_same_items_are_not_taken_for_independent():
    scores, labels = draws(300, 0.3, seed=2)
    one = mean_average_precision(scores[:, None], labels[:, None])
    same = mean_average_precision(scores[:, None].repeat(1, 8), labels[:, None].repeat(1, 8))
    assert same[:3] == pytest.approx(one[:3], abs=1e-12)
    others, theirs = (torch.stack(p, 1) for p in zip(*(draws(300, 0.3, seed) for seed in range(8)), strict=True))
    independent = mean_average_precision(others, theirs)
    assert independent.high - independent.low < 0.6 * (one.high - one.low)


def test_the_interval_is_the_same_again_and_no_global_chance_is_used():
    scores, labels = draws(300, 0.3, seed=2)
    state = torch.get_rng_state()
    first = mean_average_precision(scores[:, None], labels[:, None])
    torch.manual_seed(5)
    assert mean_average_precision(scores[:, None], labels[:, None]) == first
    torch.set_rng_state(state)
    mean_average_precision(scores[:, None], labels[:, None])
    assert torch.equal(torch.get_rng_state(), state)


def test_errors_say_what_is_wrong():
    scores = torch.zeros(3)
    with pytest.raises(ValueError, match=r"scores \(3,\) and labels \(2,\)"):
        average_precision(scores, torch.ones(2))
    with pytest.raises(ValueError, match=r"labels \[2\]"):
        average_precision(scores, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="scores that are NaN"):
        average_precision(scores * torch.nan, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="no present item;"):
        average_precision(scores, torch.tensor([0, -1, 0]))
    with pytest.raises(ValueError, match=r"no present item of the classes \[1\]"):
        mean_average_precision(torch.zeros(3, 2), torch.tensor([[1, 0], [0, 0], [0, -1]]))
