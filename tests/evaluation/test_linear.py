import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy, one_hot

from pretext.evaluation.interval import wilson
from pretext.evaluation.linear import fit, probe, stratified


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.from_numpy(pixels).float()[order], torch.from_numpy(labels)[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


def reference(x, y, l2):
    """Solve with scikit-learn to the end; it lets weights shrink by C = 1 / (N l2)."""
    return LogisticRegression(C=1 / (len(x) * l2), tol=1e-9, max_iter=20_000).fit(x.double().numpy(), y)


def objective(x, y, weight, bias, l2):
    """The loss of one classifier, in float64: weight (K, D), bias (K,)."""
    logits = x.double() @ weight.double().T + bias.double()
    return cross_entropy(logits, y) + l2 / 2 * weight.double().square().sum()


def correlated(x):
    """Mix 64 features to 300 with standard deviations of 1 to 1e-3 along their axes: a condition number of 1e6."""
    rng = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(64, 64, generator=rng))
    right, _ = torch.linalg.qr(torch.randn(300, 64, generator=rng))
    return x @ (left * torch.logspace(0, -3, 64)) @ right.T


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
def test_solution_is_scikit_learns(digits, l2):
    x, y, test, answers = digits
    ours = fit(x, y, [l2])
    theirs = reference(ours.frame.standardise(x), y, l2)
    coefficients, intercept = torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_)
    assert torch.allclose(ours.weight[0].double(), coefficients, atol=1e-3 * coefficients.abs().max())
    bias = ours.bias[0] - ours.bias[0].mean()  # a constant on all classes is free
    assert torch.allclose(bias.double(), intercept - intercept.mean(), atol=1e-3 * intercept.abs().max())
    accuracy = (ours.predict(test)[0] == answers).double().mean()
    score = theirs.score(ours.frame.standardise(test).double().numpy(), answers.numpy())
    assert accuracy == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("l2", [1e-2, 1e-4, 1e-6])
def test_strongly_correlated_features_are_solved_as_well_as_by_scikit_learn(digits, l2):
    x, y, test, answers = digits
    x, test = correlated(x), correlated(test)
    ours = fit(x, y, [l2])
    standard = ours.frame.standardise(x)
    theirs = reference(standard, y, l2)
    best = objective(standard, y, torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_), l2)
    assert objective(standard, y, ours.weight[0], ours.bias[0], l2) < best + 1e-4 * max(best, 0.01)
    score = theirs.score(ours.frame.standardise(test).double().numpy(), answers.numpy())
    assert (ours.predict(test)[0] == answers).double().mean() > score - 2.5 / len(test)  # two items, at most


def test_fewer_items_than_features(digits):
    x, y, _, _ = digits
    x, y = correlated(x)[:90], y[:90]
    ours = fit(x, y, [1e-2])
    assert ours.frame.axes.shape == (300, 90)
    standard = ours.frame.standardise(x)
    theirs = torch.from_numpy(reference(standard, y, 1e-2).coef_)
    assert torch.allclose(ours.weight[0].double(), theirs, atol=2e-3 * theirs.abs().max())


def test_the_gradient_vanishes_at_the_solution(digits):
    x, y, _, _ = digits
    ours = fit(x, y, [1e-2])
    weight, bias = ours.weight[0].double().requires_grad_(), ours.bias[0].double().requires_grad_()
    objective(ours.frame.standardise(x), y, weight, bias, 1e-2).backward()
    assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 1e-4


def test_two_classes_are_the_ordinary_logistic_regression(digits):
    x, y, _, _ = digits
    x, y = x[y < 2], y[y < 2]
    ours = fit(x, y, [1e-2])
    theirs = reference(ours.frame.standardise(x), y, 1e-2 / 2)  # w = w1 - w0, so l2/2 (w0^2 + w1^2) = l2/4 w^2
    difference = (ours.weight[0, 1] - ours.weight[0, 0]).double()
    coefficients = torch.from_numpy(theirs.coef_[0])
    assert torch.allclose(difference, coefficients, atol=1e-3 * coefficients.abs().max())


def test_strengths_do_not_disturb_one_another(digits):
    x, y, test, _ = digits
    strengths = [1e-3, 1.0, 1e-2, 1e-5]
    together = fit(x, y, strengths)
    turned = fit(x, y, strengths[::-1])
    for i, strength in enumerate(strengths):
        alone = fit(x, y, [strength]).weight[0]
        near = (1e-3 if strength > 1e-4 else 1e-2) * alone.abs().max()  # where weak, the optimum is flat
        assert torch.allclose(together.weight[i], alone, atol=near)
        assert torch.allclose(turned.weight[-1 - i], alone, atol=near)
    assert torch.equal(together.predict(test)[:3], turned.predict(test).flip(0)[:3])


def test_stronger_means_smaller_weights(digits):
    x, y, _, _ = digits
    norms = fit(x, y, [1e-4, 1e-2, 1.0, 100.0]).weight.square().sum((1, 2))
    assert (norms.diff() < 0).all()
    assert norms[-1] < 1e-3


def test_units_and_constant_features_do_not_matter(digits):
    x, y, test, answers = digits
    plain = probe(x, y, test, answers)
    units = torch.logspace(-3, 3, 64)
    changed, shifted = x * units + 5 * units, test * units + 5 * units
    dead = torch.full((len(x), 8), 0.1)
    wild = torch.randn(len(test), 8, generator=torch.Generator().manual_seed(0))  # constant in training only
    result = probe(torch.cat([changed, dead], 1), y, torch.cat([shifted, wild], 1), answers)
    assert result.l2 == plain.l2
    assert (result.predictions == plain.predictions).float().mean() > 0.997


def test_labels_as_features_are_read_off_without_error(digits):
    _, y, _, answers = digits
    result = probe(one_hot(y).half(), y, one_hot(answers).half(), answers)
    assert (result.accuracy, result.validation) == (1.0, 1.0)


def test_shuffled_labels_give_chance(digits):
    x, y, test, answers = digits
    rng = torch.Generator().manual_seed(0)
    result = probe(x, y[torch.randperm(len(y), generator=rng)], test, answers)
    low, high = wilson(round(result.accuracy * len(test)), len(test), z=4)
    assert low < 0.1 < high


def test_nothing_is_chosen_by_looking_at_the_test_labels(digits):
    x, y, test, answers = digits
    honest, blind = probe(x, y, test, answers), probe(x, y, test, answers.flip(0))
    assert torch.equal(honest.predictions, blind.predictions)
    assert (honest.l2, honest.validation) == (blind.l2, blind.validation)
    assert honest.accuracy > 0.9 > 0.3 > blind.accuracy


def test_labels_may_be_any_numbers(digits):
    x, y, test, answers = digits
    plain, odd = probe(x, y, test, answers), probe(x, 10 * y - 30, test, 10 * answers - 30)
    assert torch.equal(10 * plain.predictions - 30, odd.predictions)


def test_the_held_out_share_is_the_same_of_every_class():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    held = stratified(labels)
    assert [int(held[labels == label].sum()) for label in range(4)] == [10, 2, 1, 0]
    assert torch.equal(held, stratified(labels))


def test_errors_say_what_is_wrong():
    x, y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    with pytest.raises(ValueError, match="8 training and 0 test items"):
        probe(x, y, x[:0], y[:0])
    with pytest.raises(ValueError, match="one class only, 1"):
        probe(x, torch.ones_like(y), x, torch.ones_like(y))
    with pytest.raises(ValueError, match=r"test labels \[5\] that no training item has"):
        probe(x, y, x, torch.full_like(y, 5))
    with pytest.raises(ValueError, match="no class has two training items"):
        probe(x, torch.arange(8), x, torch.arange(8))
    with pytest.raises(ValueError, match="training features hold NaN"):
        probe(x.index_fill(0, torch.tensor([2]), torch.nan), y, x, y)
    with pytest.raises(ValueError, match="test features hold NaN"):
        probe(x, y, x * torch.inf, y)
    with pytest.raises(ValueError, match=r"strengths \(0.0,\)"):
        probe(x, y, x, y, strengths=[0.0])
    with pytest.raises(ValueError, match="shapes"):
        probe(x, y, x[:, :2], y)
