import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import LinearSVC
from torch.nn.functional import normalize, one_hot

from pretext.core.rng import seed_of
from pretext.evaluation.low_shot import low_shot
from pretext.evaluation.protocols.svm import svm
from pretext.evaluation.solvers import linear_svm
from pretext.evaluation.solvers.linear_svm import COSTS, FAIR_COSTS
from pretext.evaluation.statistics.average_precision import average_precision, mean_average_precision
from pretext.evaluation.statistics.intervals import wilson


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.from_numpy(pixels).float()[order], torch.from_numpy(labels)[order]
    return x[:300], y[:300], x[300:], y[300:]


@pytest.fixture(scope="module")
def several(digits):
    """The same with several labels each: is it even, is it above 4, is it a multiple of 3?"""

    def say(y):
        return torch.stack([y % 2 == 0, y > 4, y % 3 == 0], 1).to(torch.int8)

    x, y, test, answers = digits
    return x, say(y), test, say(answers)


def machine(cost=1.0):
    """The protocol's machine, as scikit-learn has it."""
    return LinearSVC(
        C=cost, class_weight={1: 2, -1: 1}, max_iter=2000, dual=True, random_state=seed_of("svm", "order") % 2**32
    )


def unit(x):
    return (x.double() / (x.double().norm(dim=1, keepdim=True) + 1e-5)).numpy()


def reference(x, present, test, cost=1.0):
    return torch.from_numpy(machine(cost).fit(unit(x), np.where(present == 1, 1, -1)).decision_function(unit(test)))


def test_it_is_scikit_learns_machine_on_features_of_length_one(several):
    x, y, test, answers = several
    found = svm(x, y, test, answers, costs=[1.0])
    for k in range(3):
        assert torch.allclose(found.scores[:, k], reference(x, y[:, k], test), atol=1e-9)
    expected = mean_average_precision(found.scores, answers)
    assert (found.map, found.low, found.high, found.each) == expected
    assert found.accuracy is None
    assert (found.fits, found.unconverged, found.unfinished) == (3 * 3 + 3, 0, 0)


def test_few_items_of_many_features_are_turned_without_changing_anything(several):
    x, y, test, answers = several
    wide = torch.randn(64, 900, generator=torch.Generator().manual_seed(0))
    assert linear_svm.in_span(unit(x @ wide))[0].shape == (300, 300)
    found = svm(x @ wide, y, test @ wide, answers, costs=[1.0])
    for k in range(3):
        assert torch.allclose(found.scores[:, k], reference(x @ wide, y[:, k], test @ wide), atol=1e-6)


def test_the_cost_is_the_best_of_scikit_learns_search_for_each_class(several):
    x, y, test, answers = several
    found = svm(x, y, test, answers)
    best = []
    for k in range(3):
        divide = StratifiedKFold(3, shuffle=True, random_state=seed_of("svm", "folds", k) % 2**32)

        def area(present, scores):
            return average_precision(torch.from_numpy(scores), torch.from_numpy(present > 0).int())

        scorer = make_scorer(area, response_method="decision_function")
        search = GridSearchCV(machine(), {"C": list(COSTS)}, scoring=scorer, cv=divide, refit=False)
        with pytest.warns(ConvergenceWarning):
            search.fit(unit(x), np.where(y[:, k] == 1, 1, -1))
        assert found.costs[k] == search.best_params_["C"]
        best.append(search.best_score_)
    assert found.validation == pytest.approx(np.mean(best), abs=1e-9)
    assert len(set(found.costs)) > 1
    assert found.unconverged > 0 == found.unfinished


def test_items_of_one_label_share_the_cost_that_is_best_on_average(digits):
    x, y, test, answers = digits
    found = svm(x, y, test, answers, COSTS[:-2])
    as_several = svm(x, one_hot(y).to(torch.int8), test, one_hot(answers).to(torch.int8), COSTS[:-2])
    assert len(set(found.costs)) == 1 < len(set(as_several.costs))
    assert found.validation < as_several.validation
    right = (found.scores.argmax(1) == answers).sum().item()
    assert found.accuracy == right / len(answers) > 0.9
    assert (found.low, found.high) == wilson(right, len(answers))
    assert found.map is None
    alone = [svm(x, y, test, answers, costs=[cost]).validation for cost in COSTS[:-2]]
    assert found.validation == pytest.approx(max(alone), abs=1e-12)
    assert found.costs[0] == COSTS[alone.index(max(alone))]


def test_the_smallest_of_equally_good_costs_is_taken():
    y = torch.tensor([[1], [0]] * 10)
    x = one_hot(y[:, 0]).float()
    assert svm(x, y, x, y, costs=[100.0, 0.1, 1.0]).costs == [0.1]


def difficult(several):
    """Hide a third of what is present in the first class, as too hard to see."""
    x, y, test, answers = several
    y = y[:, :1].clone()
    y[((y[:, 0] == 1) & (torch.arange(len(y)) % 3 == 0)).nonzero()[:, 0]] = -1
    return x, y, test, answers[:, :1]


def test_difficult_items_are_no_negatives_in_training(several):
    x, y, test, answers = difficult(several)
    judged = y[:, 0] >= 0
    assert 30 < (~judged).sum() < 80
    found = svm(x, y, test, answers)
    without = svm(x[judged], y[judged], test, answers)
    as_negatives = svm(x, y.clamp_min(0), test, answers)  # what the public trainers do in cross-validation
    assert torch.equal(found.scores, without.scores)
    assert found.costs == without.costs
    assert found.map > as_negatives.map + 0.02


def test_difficult_items_are_not_judged_in_the_test(several):
    x, y, test, answers = several
    hidden = torch.arange(len(answers)) % 4 == 0
    masked = answers.clone()
    masked[hidden] = -1
    found = svm(x, y, test, masked, costs=[1.0])
    assert found.each == svm(x, y, test[~hidden], answers[~hidden], costs=[1.0]).each
    assert found.each != svm(x, y, test, answers, costs=[1.0]).each


def test_nothing_is_chosen_on_test_items(several):
    x, y, test, answers = several
    order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(1))
    found, other = svm(x, y, test, answers), svm(x, y, test, answers[order])
    assert found.costs == other.costs
    assert torch.equal(found.scores, other.scores)
    assert found.map > other.map


def test_the_length_of_features_does_not_matter(several):
    x, y, test, answers = several
    lengths = 1 + torch.arange(len(x))[:, None] % 5
    plain, scaled = (svm(*sets, costs=[1.0]) for sets in (several, (x * lengths, y, test * 7, answers)))
    assert torch.allclose(plain.scores, scaled.scores, atol=1e-4)


def test_labels_as_features_leave_no_error_and_shuffled_labels_no_knowledge(digits):
    x, y, test, answers = digits
    assert svm(one_hot(y).float(), y, one_hot(answers).float(), answers, costs=[1.0]).accuracy == 1
    rng = torch.Generator().manual_seed(0)
    y, answers = (part[torch.randperm(len(part), generator=rng)] for part in (y, answers))
    right = round(svm(x, y, test, answers, costs=[1.0]).accuracy * len(answers))
    low, high = wilson(right, len(answers), confidence=0.9999)
    assert low < 0.1 < high


def test_labels_need_not_count_from_zero(digits):
    x, y, test, answers = digits
    found, named = svm(x, y, test, answers, [1.0]), svm(x, 10 * y + 3, test, 10 * answers + 3, [1.0])
    assert torch.equal(found.scores, named.scores)
    assert found.accuracy == named.accuracy


def test_fits_that_stop_early_are_counted_and_do_not_warn(several, monkeypatch):
    monkeypatch.setattr(linear_svm, "MAX_ITER", 3)
    found = svm(*several, costs=[0.01, 1000.0])
    assert found.fits == 3 * 2 * 3 + 3
    assert found.unconverged == 3 * 2 * 3 + found.unfinished
    assert found.unfinished == 3


def test_the_features_are_left_as_they_were(several):
    x, y, test, answers = (part.clone() for part in several)
    svm(x.double(), y, test.double(), answers, costs=[1.0])
    double = x.double()
    svm(double, y, test.double(), answers, costs=[1.0])
    assert torch.equal(double, x.double())


def test_the_lists_of_costs_are_the_published_ones():
    assert COSTS == (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)
    assert (len(FAIR_COSTS), FAIR_COSTS[0], FAIR_COSTS[-1]) == (26, 1e-7, 100)
    assert {0.5**4, 0.5**19, 10.0, 1e-3} < set(FAIR_COSTS)


@pytest.fixture
def tricolour():
    """Three classes of 20 items each, noisy."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = normalize(one_hot(y, 3).float() + 0.6 * torch.randn(60, 3, generator=rng))
    test = normalize(one_hot(y, 3).float() + 0.6 * torch.randn(60, 3, generator=rng))
    return x, y, test, y


def test_all_labels_make_the_same_machine_in_each_draw(tricolour):
    costs = [0.1, 1.0, 10.0]
    whole, (shots,) = svm(*tricolour, costs=costs), low_shot(*tricolour, ks=[20], costs=costs)
    assert shots.each == [whole.accuracy] * 5
    assert (shots.k, shots.value, shots.std) == (20, pytest.approx(whole.accuracy), 0)
    assert shots.fits == 5 * whole.fits


def test_one_label_each_is_the_machine_of_one_present_item_and_19_absent_ones(tricolour, monkeypatch):
    fits = []
    fit = linear_svm.fit
    monkeypatch.setattr(
        linear_svm, "fit", lambda rows, signs, cost: fits.append((signs, cost)) or fit(rows, signs, cost)
    )
    low_shot(*tricolour, ks=[1], draws=2)
    assert [(int((signs > 0).sum()), int((signs < 0).sum()), cost) for signs, cost in fits] == [(1, 19, 1.0)] * 6


def test_a_larger_k_contains_the_smaller_ones_and_draws_differ(tricolour, monkeypatch):
    drawn = []
    choose = linear_svm.fit_classes
    monkeypatch.setattr(
        "pretext.evaluation.low_shot.fit_classes", lambda x, y, costs: drawn.append(y.clone()) or choose(x, y, costs)
    )
    low_shot(*tricolour, ks=[1, 2, 4], draws=3, costs=[1.0])
    ones = [few == 1 for few in drawn]
    for draw in range(3):
        one, two, four = ones[draw], ones[3 + draw], ones[6 + draw]
        assert [int(few.sum()) for few in (one, two, four)] == [3, 6, 12]
        assert (one <= two).all()
        assert (two <= four).all()
    assert not torch.equal(ones[0], ones[1])


def test_more_labels_help_and_the_interval_is_students(digits):
    x, y, test, answers = digits
    found = low_shot(x, y, test[:500], answers[:500], ks=(1, 4, 16, 1000), costs=[1.0, 10.0])
    assert [shots.k for shots in found] == [1, 4, 16]  # no class has 1000
    assert found[0].value + 0.05 < found[1].value < found[2].value - 0.03
    for shots in found:
        low, high = t.interval(0.95, 4, loc=np.mean(shots.each), scale=np.std(shots.each, ddof=1) / 5**0.5)
        assert (shots.low, shots.high) == pytest.approx((low, high))
        assert (shots.value, shots.std) == pytest.approx((np.mean(shots.each), np.std(shots.each, ddof=1)))


def test_several_labels_are_measured_by_mean_average_precision_with_few_labels_too(several):
    x, y, test, answers = several
    (shots,) = low_shot(x, y, test, answers, ks=[32], draws=2, costs=[1.0])
    whole = svm(x, y, test, answers, costs=[1.0])
    assert answers.double().mean() < shots.value < whole.map


def test_errors_say_what_is_wrong():
    x, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 0, 1])
    many = one_hot(y)
    with pytest.raises(ValueError, match="svm got 0 training and 6 test items"):
        svm(x[:0], y[:0], x, y)
    with pytest.raises(ValueError, match=r"shapes \[\(6, 3\), \(6,\), \(6, 2\), \(6,\)\]"):
        svm(x, y, x[:, :2], y)
    with pytest.raises(ValueError, match=r"shapes .*\(6, 2\), \(6, 3\), \(6,\)"):
        svm(x, many, x, y)
    with pytest.raises(ValueError, match=r"labels \[2\]"):
        svm(x, 2 * many, x, many)
    with pytest.raises(ValueError, match=r"test labels \[5\]"):
        svm(x, y, x, y + 5 * (y == 1) - (y == 1).long())
    with pytest.raises(ValueError, match="training features hold NaN"):
        svm(x * torch.nan, y, x, y)
    with pytest.raises(ValueError, match=r"at least 2 present and 2 absent .* classes \[9\] of 3 have fewer"):
        svm(x, torch.tensor([0, 3, 0, 3, 0, 9]), x, torch.tensor([0, 3, 0, 3, 0, 9]))
    with pytest.raises(ValueError, match=r"no present test item of the classes \[1\]"):
        svm(x, many, x[::2], many[::2])
    with pytest.raises(ValueError, match=r"costs=\(0\.0,\)"):
        svm(x, y, x, y, costs=[0.0])
    with pytest.raises(ValueError, match="folds=1"):
        svm(x, y, x, y, folds=1)
    with pytest.raises(ValueError, match="low_shot got draws=1"):
        low_shot(x, y, x, y, draws=1)
    with pytest.raises(ValueError, match=r"svm .* at least 2 present"):
        svm(x, torch.zeros(6, dtype=torch.long), x, torch.zeros(6, dtype=torch.long))
