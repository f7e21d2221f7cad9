import pytest
import torch
from scipy.stats import t as student_t
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import one_hot

from pretext.evaluation.protocols import low_label as module
from pretext.evaluation.protocols.low_label import low_label
from pretext.evaluation.solvers.logistic_regression import Linear, probe
from pretext.evaluation.solvers.standardize import standardizer_of
from pretext.evaluation.statistics.intervals import wilson

FEW = (1e-3, 1e-2, 1e-1)  # strengths


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.from_numpy(pixels).float()[order], torch.from_numpy(labels)[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


@pytest.fixture(scope="module")
def points(digits):
    return {point.labels: point for point in low_label(*digits, strengths=FEW)}


def test_more_labels_are_better_and_all_of_them_are_the_probe(digits, points):
    assert list(points) == ["1 per class", "1 %", "5 per class", "10 per class", "10 %", "20 per class",
                            "100 per class", "100 %"]  # fmt: skip
    sizes = [points[f"{n} per class"] for n in (1, 5, 10, 20, 100)]
    assert [point.items for point in sizes] == [10, 50, 100, 200, 1000]
    means = [point.accuracy for point in sizes]
    assert means == sorted(means)
    assert 0.3 < means[0] < 0.7 < means[1] < means[-1]
    whole = points["100 %"]
    assert (whole.items, whole.draws) == (1200, 1)
    assert whole.accuracy == pytest.approx(probe(*digits, FEW).accuracy, abs=0.02)  # a strength apart, perhaps


def test_intervals_are_students_over_draws_and_wilsons_of_a_single_one(digits, points):
    few = points["5 per class"]
    each = torch.tensor(few.each, dtype=torch.float64)
    low, high = student_t.interval(0.95, 4, loc=float(each.mean()), scale=float(each.std()) / 5**0.5)
    assert (few.accuracy, few.low, few.high) == pytest.approx((float(each.mean()), low, high))
    assert len(set(few.each)) > 1
    whole, total = points["100 %"], len(digits[3])
    assert (whole.low, whole.high) == wilson(round(whole.accuracy * total), total)


def test_draws_hold_the_same_number_of_each_class_and_grow(digits):
    _, y, _, _ = digits
    positions, small, large = y, torch.full((10,), 3), torch.full((10,), 20)
    few, many = module._draws(positions, small, 4), module._draws(positions, large, 4)
    assert (y[few].view(4, 10, 3) == torch.arange(10)[:, None]).all()
    assert all(set(a.tolist()) <= set(b.tolist()) for a, b in zip(few, many, strict=True))
    assert len({tuple(sorted(a.tolist())) for a in few}) == 4
    assert all(len(set(b.tolist())) == 200 for b in many)
    assert torch.equal(many, module._draws(positions, large, 6)[:4])


@pytest.mark.parametrize("width", [64, 400])
def test_draws_solved_together_are_scikit_learns_each(digits, width):
    x, y, _, _ = digits
    x = x @ torch.randn(64, width, generator=torch.Generator().manual_seed(0))
    chosen, of = module._draws(y, torch.full((10,), 10), 3), torch.arange(10).repeat_interleave(10)
    found = standardizer_of(x, most=0)
    solved = module._solve_together(x, chosen, of, found, [1e-2])
    for rows, solution in zip(chosen, solved, strict=True):
        z = found.standardise(x[rows]).double()
        theirs = torch.from_numpy(LogisticRegression(C=1 / (100 * 1e-2), tol=1e-9, max_iter=20_000).fit(z, of).coef_)
        assert torch.allclose(solution[:, :-1].double(), theirs, atol=2e-3 * theirs.abs().max())


def test_draws_together_and_alone_agree(digits):
    x, y, test, _ = digits
    chosen, of = module._draws(y, torch.full((10,), 20), 2), torch.arange(10).repeat_interleave(20)
    found = standardizer_of(x, most=0)
    together = module._solve_together(x, chosen, of, found, [1e-2])
    alone = torch.cat([module._solve_alone(x[rows], of, found, [1e-2]) for rows in chosen])
    said, again = (Linear(found, solution).predict(test) for solution in (together, alone))
    assert (said == again).float().mean() > 0.997
    near, free = 3e-3 * float(alone.abs().max()), together - alone
    free[..., -1] -= free[..., -1].mean(1, keepdim=True)  # of the bias, a constant on all classes
    assert free.abs().max() < near


def test_nothing_is_chosen_by_looking_at_the_test_labels(digits):
    x, y, test, answers = digits
    honest = low_label(x, y, test, answers, per_class=(1, 10), shares=(), strengths=FEW)
    blind = low_label(x, y, test, (answers + 1) % 10, per_class=(1, 10), shares=(), strengths=FEW)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    moved = low_label(x, y, test[order], answers[order], per_class=(1, 10), shares=(), strengths=FEW)
    assert [point.each for point in honest] == [point.each for point in moved]
    assert all(max(point.each) < 0.2 for point in blind)


def test_labels_as_features_need_one_label_each(digits):
    _, y, _, answers = digits
    (point,) = low_label(one_hot(10 - y).half(), 7 * y, one_hot(10 - answers).half(), 7 * answers, (1,), ())
    assert (point.accuracy, point.each) == (1.0, [1.0] * 5)


def test_shuffled_labels_give_chance(digits):
    x, y, test, answers = digits
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    for point in low_label(x, y, test, answers, per_class=(20,), shares=(0.5,), strengths=FEW):
        low, high = wilson(round(point.accuracy * len(test)), len(test), confidence=0.9999)
        assert low < 0.1 < high


def test_sizes_that_a_class_cannot_give_are_left_out(digits):
    x, y, test, answers = digits
    rare = (y != 3) | ((y == 3).cumsum(0) <= 2)  # two threes
    named = [point.labels for point in low_label(x[rare], y[rare], test, answers, (1, 2, 3), (0.2, 0.3))]
    assert named == ["1 per class", "2 per class", "30 %"]  # 0.2 of two items is nothing
    with pytest.raises(ValueError, match="smallest class has 2 training items"):
        low_label(x[rare], y[rare], test, answers, (3,), ())


def test_errors_say_what_is_wrong(digits):
    x, y, test, answers = digits
    with pytest.raises(ValueError, match="draws=0; it wants sizes and draws of at least 1"):
        low_label(x, y, test, answers, draws=0)
    with pytest.raises(ValueError, match=r"shares=\(1.5,\)"):
        low_label(x, y, test, answers, shares=(1.5,))
    with pytest.raises(ValueError, match=r"per_class=\(0,\)"):
        low_label(x, y, test, answers, per_class=(0,))
    with pytest.raises(ValueError, match="one class only"):
        low_label(x, torch.ones_like(y), test, answers)
    with pytest.raises(ValueError, match=r"strengths \(-1.0,\)"):
        low_label(x, y, test, answers, strengths=[-1.0])


def test_one_item_of_each_class_is_fitted_with_the_fixed_strength(digits):
    x, y, test, _ = digits
    found = standardizer_of(x, most=0)
    chosen, of = module._draws(y, torch.ones(10, dtype=torch.long), 1), torch.arange(10)
    ours = Linear(found, module._solve_together(x, chosen, of, found, [1e-6, 100.0]))
    z = found.standardise(x[chosen[0]]).double()
    theirs = LogisticRegression(C=1 / (10 * module.SINGLE), tol=1e-9, max_iter=20_000).fit(z, of)
    coefficients = torch.from_numpy(theirs.coef_)
    assert torch.allclose(ours.weight[0].double(), coefficients, atol=2e-3 * coefficients.abs().max())
    same = ours.predict(test)[0].numpy() == theirs.predict(found.standardise(test).double())
    assert same.mean() > 0.995


def test_more_classes_than_are_solved_together_with_one_label_each():
    chance = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(300, 32, generator=chance)
    labels = torch.arange(300).repeat(2)
    train, test = (centres[labels] + 0.1 * torch.randn(600, 32, generator=chance) for _ in range(2))
    (point,) = low_label(train, labels, test, labels, per_class=(1,), shares=(), draws=2)
    assert point.items == 300
    assert point.accuracy > 0.9


def test_draws_that_agree_have_the_interval_of_the_test_items(digits):
    _, labels, _, answers = digits
    eye = torch.eye(10)
    (point,) = low_label(eye[labels], labels, eye[answers], answers, per_class=(5,), shares=(), draws=3)
    assert point.accuracy == 1
    assert (point.low, point.high) == wilson(len(answers), len(answers))
