from math import log10

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from torch.nn.functional import cross_entropy, one_hot
from torch.utils._python_dispatch import TorchDispatchMode

from pretext.evaluation.folds import stratified, stratified_folds
from pretext.evaluation.solvers import logistic_problem
from pretext.evaluation.solvers import logistic_regression as linear
from pretext.evaluation.solvers.lbfgs import solve
from pretext.evaluation.solvers.logistic_problem import Items, SeparateDesigns, SharedDesign
from pretext.evaluation.solvers.logistic_regression import EXACT, fit, probe
from pretext.evaluation.solvers.standardize import standardizer_of
from pretext.evaluation.statistics.intervals import wilson


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
    theirs = reference(ours.standardizer.standardise(x), y, l2)
    coefficients, intercept = torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_)
    assert torch.allclose(ours.weight[0].double(), coefficients, atol=1e-3 * coefficients.abs().max())
    bias = ours.bias[0] - ours.bias[0].mean()  # a constant on all classes is free
    assert torch.allclose(bias.double(), intercept - intercept.mean(), atol=1e-3 * intercept.abs().max())
    accuracy = (ours.predict(test)[0] == answers).double().mean()
    score = theirs.score(ours.standardizer.standardise(test).double().numpy(), answers.numpy())
    assert accuracy == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("l2", [1e-2, 1e-4, 1e-6])
def test_strongly_correlated_features_are_solved_as_well_as_by_scikit_learn(digits, l2):
    x, y, test, answers = digits
    x, test = correlated(x), correlated(test)
    ours = fit(x, y, [l2])
    standard = ours.standardizer.standardise(x)
    theirs = reference(standard, y, l2)
    best = objective(standard, y, torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_), l2)
    assert objective(standard, y, ours.weight[0], ours.bias[0], l2) < best + 1e-4 * max(best, 0.01)
    score = theirs.score(ours.standardizer.standardise(test).double().numpy(), answers.numpy())
    assert (ours.predict(test)[0] == answers).double().mean() > score - 2.5 / len(test)  # two items, at most


def test_fewer_items_than_features(digits):
    x, y, _, _ = digits
    x, y = correlated(x)[:90], y[:90]
    ours = fit(x, y, [1e-2])
    assert ours.standardizer.axes.shape == (300, 90)
    standard = ours.standardizer.standardise(x)
    theirs = torch.from_numpy(reference(standard, y, 1e-2).coef_)
    assert torch.allclose(ours.weight[0].double(), theirs, atol=2e-3 * theirs.abs().max())


def test_the_gradient_vanishes_at_the_solution(digits):
    x, y, _, _ = digits
    ours = fit(x, y, [1e-2])
    weight, bias = ours.weight[0].double().requires_grad_(), ours.bias[0].double().requires_grad_()
    objective(ours.standardizer.standardise(x), y, weight, bias, 1e-2).backward()
    assert max(weight.grad.abs().max(), bias.grad.abs().max()) < 1e-4


def test_two_classes_are_the_ordinary_logistic_regression(digits):
    x, y, _, _ = digits
    x, y = x[y < 2], y[y < 2]
    ours = fit(x, y, [1e-2])
    theirs = reference(ours.standardizer.standardise(x), y, 1e-2 / 2)  # w = w1 - w0, so l2/2 (w0^2 + w1^2) = l2/4 w^2
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
    low, high = wilson(round(result.accuracy * len(test)), len(test), confidence=0.9999)
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
    with pytest.raises(ValueError, match="folds=1; it wants at least 2"):
        probe(x, y, x, y, folds=1)


def ragged(items, width, condition=1e6):
    """Make features of that condition number, with variances that fall as those of a network do, and ten classes."""
    rng = torch.Generator().manual_seed(0)
    right, _ = torch.linalg.qr(torch.randn(width, width, generator=rng))
    hidden = torch.randn(items, width, generator=rng) * torch.logspace(0, -log10(condition), width)
    return hidden @ right.T, (hidden[:, :10] / hidden[:, :10].std(0)).argmax(1)


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_more_axes_than_are_looked_at_are_solved_as_by_scikit_learn(l2):
    x, y = ragged(1500, 1100)
    ours = fit(x[:1300], y[:1300], [l2])
    assert ours.standardizer.axes is None  # so leading axes and the mean of the rest guide the solver
    standard = ours.standardizer.standardise(x)
    theirs = reference(standard[:1300], y[:1300], l2)
    coefficients = torch.from_numpy(theirs.coef_)
    assert torch.allclose(ours.weight[0].double(), coefficients, atol=1e-3 * coefficients.abs().max())
    score = theirs.score(standard[1300:].double().numpy(), y[1300:].numpy())
    assert (ours.predict(x[1300:])[0] == y[1300:]).double().mean() == pytest.approx(score, abs=1e-3)


def test_blocks_of_half_precision_give_the_same_solution(digits, monkeypatch):
    x, y, _, _ = digits
    x = x.half()
    monkeypatch.setitem(logistic_problem.BLOCK, "cpu", 500 * 65 * 4)  # 500 rows
    kept, remade = (SharedDesign(x, standardizer_of(x), limit) for limit in (1 << 30, 0))
    assert remade.z is None  # no copy of the features in single precision
    whole, parts = (fit_shared(shared, y, [1e-2, 1e-1]) for shared in (kept, remade))
    assert torch.allclose(whole, parts, atol=1e-4 * whole.abs().max())


def fit_shared(shared, y, strengths, share=None):
    start = torch.zeros(len(strengths), 10, shared.width)
    return solve(shared, y, torch.tensor(strengths), start, EXACT, share)


def test_an_item_that_weighs_nothing_is_not_there(digits):
    x, y, _, _ = digits
    shared, left = standardizer_of(x), torch.arange(len(x)) % 3 > 0
    masked = fit_shared(SharedDesign(x, shared), y, [1e-2], left[None])
    alone = fit_shared(SharedDesign(x[left], shared), y[left], [1e-2])
    assert torch.allclose(masked, alone, atol=1e-3 * alone.abs().max())


def test_an_item_that_weighs_double_is_there_twice(digits):
    x, y, _, _ = digits
    shared, times = standardizer_of(x), 1 + torch.arange(len(x)) % 2
    weighed = fit_shared(SharedDesign(x, shared), y, [1e-2], times[None])
    repeated = fit_shared(SharedDesign(x.repeat_interleave(times, 0), shared), y.repeat_interleave(times), [1e-2])
    assert torch.allclose(weighed, repeated, atol=1e-3 * repeated.abs().max())


def test_problems_with_items_of_their_own_are_solved_as_each_alone(digits):
    x, y, _, _ = digits
    found = standardizer_of(x)
    z = found(x).view(3, 400, -1)
    solved = solve(SeparateDesigns(z), y.view(3, 400), torch.full((3,), 1e-2), torch.zeros(3, 10, z.shape[2]), EXACT)
    for i, part in enumerate(x.split(400)):
        alone = fit_shared(SharedDesign(part, found), y[400 * i : 400 * (i + 1)], [1e-2])[0]
        assert torch.allclose(solved[i], alone, atol=1e-3 * alone.abs().max())


@pytest.mark.parametrize("limit", [1 << 30, 0])
def test_the_pull_is_the_gradient_of_the_loss(limit, monkeypatch):
    x, y = ragged(1100, 1050, 1e2)
    monkeypatch.setitem(logistic_problem.BLOCK, "cpu", 300 * 1051 * 4)  # 300 rows
    found, rng = standardizer_of(x), torch.Generator().manual_seed(1)
    shared = SharedDesign(x, found, limit)
    assert (shared.z is None) == (limit == 0)
    weight = (torch.randn(2, 10, shared.width, generator=rng) / 30).requires_grad_()
    share = torch.rand(2, len(x), generator=rng)
    logits = found(x) @ weight.mT
    each = torch.stack([cross_entropy(one, y, reduction="none") for one in logits])
    losses = (each * share).sum(1)
    losses.sum().backward()
    loss, gradient = shared.evaluate(weight.detach(), Items(y.expand(2, -1), share))
    assert torch.allclose(loss.float(), losses.detach(), rtol=1e-4)
    assert torch.allclose(gradient, weight.grad, atol=1e-4 * weight.grad.abs().max())
    assert torch.equal(shared.classes(weight.detach()), logits.argmax(2))


def test_no_buffer_grows_with_items_times_classes(monkeypatch):
    items, classes = 4000, 300
    x = torch.randn(items, 20, generator=torch.Generator().manual_seed(0)).half()
    y = torch.arange(items) % classes
    monkeypatch.setitem(logistic_problem.BLOCK, "cpu", 64 * classes * 4)  # 64 rows
    monkeypatch.setattr(logistic_problem, "SAMPLE", 500)
    most = 0

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal most
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                most = max(most, result.numel())
            return result

    design = SharedDesign(x, standardizer_of(x), limit=0)
    with Largest():
        solve(design, y, torch.tensor([1e-2]), torch.zeros(1, classes, 21), 1e-3)
    assert most <= 500 * classes  # the curvature's sample; all logits would be 4,000 x 300


@pytest.mark.parametrize("items", [40, 300, 700])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_features_of_few_distinct_rows_are_probed(items, rows):
    for seed in range(3):
        which, rng = torch.arange(items) % (2 * rows), torch.Generator().manual_seed(seed)
        x = torch.randn(2 * rows, 512, generator=rng).relu()[which].half()
        assert probe(x, which % 2, x, which % 2).accuracy == 1.0
        collapsed = torch.ones(items, 512) + 1e-7 * torch.randn(items, 512, generator=rng)
        assert 0 <= probe(collapsed, which % 2, collapsed, which % 2).accuracy <= 1


def test_the_leading_axes_hold_what_they_should_and_the_rest_its_mean():
    x, _ = ragged(1300, 1100, 1e3)
    shared, rng = SharedDesign(x, standardizer_of(x)), torch.Generator().manual_seed(1)
    axes, count = shared.axes, logistic_problem.LEADING
    assert torch.allclose(axes.T @ axes, torch.eye(count), atol=1e-4)
    values = torch.linalg.eigvalsh(shared.z[:, :-1].T @ shared.z[:, :-1] / len(x)).flip(0)
    assert shared.square[:, :-1].mean(0).sum() > 0.99 * values[:count].sum()  # of the variance that they can hold
    assert shared.square[:, :-1].mean(0).sum() + shared.tail * (1100 - count) == pytest.approx(1100, rel=1e-3)
    items = Items(torch.zeros(2, len(x), dtype=torch.long), torch.rand(2, len(x), generator=rng) / len(x))
    weight, v = torch.randn(2, 2, 3, shared.width, generator=rng)
    seen = shared.curvature(weight / 30, items, torch.tensor([0.1, 1.0]))
    along = v[..., :-1] @ axes
    bent = (seen[..., :-2] * along) @ axes.T + seen[..., -1:] * (v[..., :-1] - along @ axes.T)
    assert torch.allclose(shared.precondition(torch.cat([bent, seen[..., -2:-1] * v[..., -1:]], 2), seen), v, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_an_accelerator_streams_the_features_and_agrees(digits, monkeypatch):
    x, y, test, answers = digits
    here = probe(x.half(), y, test.half(), answers)
    for limit in (1 << 30, 0):  # kept there, brought in blocks
        monkeypatch.setattr(logistic_problem, "room", lambda device, limit=limit: limit)
        there = probe(x.half(), y.cuda(), test.half(), answers.cuda())
        assert there.predictions.device.type == "cuda"
        assert there.l2 == here.l2
        assert (there.predictions.cpu() == here.predictions).float().mean() > 0.997


def test_folds_are_stratified_and_leave_every_class_to_be_fitted():
    labels = torch.tensor([0] * 50 + [1] * 11 + [2] * 2 + [3])
    held = stratified_folds(labels, 5)
    assert held.shape == (5, 64)
    assert held.sum(0).tolist() == [1] * 63 + [0]  # each item once; the only one of its class never
    assert (held[:, labels == 0].sum(1) == 10).all()
    assert held.sum(1).tolist() == [13, 13, 13, 12, 12]
    assert all(len(labels[~part].unique()) == 4 for part in held)
    assert len(stratified_folds(torch.tensor([0, 0, 1, 1]), 10)) == 4  # no empty parts
    assert torch.equal(held, stratified_folds(labels, 5))


def test_folds_choose_as_scikit_learns_cross_validation_does(digits):
    x, y, test, answers = digits
    result = probe(x, y, test, answers, [1e-4, 1e-2, 1.0, 100.0], folds=4)
    standard, held = standardizer_of(x).standardise(x), stratified_folds(y, 4)
    pairs = [(part.logical_not().nonzero()[:, 0].numpy(), part.nonzero()[:, 0].numpy()) for part in held]
    scores = {}
    for l2 in (1e-4, 1e-2, 1.0, 100.0):  # all folds have 900 items to fit
        model = LogisticRegression(C=1 / (900 * l2), tol=1e-6, max_iter=5000)
        right = cross_val_score(model, standard.double().numpy(), y.numpy(), cv=pairs)
        scores[l2] = float(right.mean())
    assert result.l2 == max(scores, key=scores.get)
    assert result.validation == pytest.approx(scores[result.l2], abs=3 / 1200)


def test_of_equal_strengths_the_strongest_is_taken_and_weak_ones_are_not_tried(digits, monkeypatch):
    x, y, test, answers = digits
    assert probe(one_hot(y).float(), y, one_hot(answers).float(), answers).l2 == 1.0
    tried = []
    monkeypatch.setattr(linear, "solve", lambda *a, **k: tried.append(a[2].tolist()) or solve(*a, **k))
    noise = torch.randn(len(x), 400, generator=torch.Generator().manual_seed(0))
    probed = probe(torch.cat([x, noise], 1), y, torch.cat([test, torch.zeros(len(test), 400)], 1), answers)
    assert tried[-1] == [probed.l2]
    assert min(tried)[0] > min(linear.STRENGTHS)
    assert tried[:-1] == sorted(tried[:-1], reverse=True)


def test_what_is_held_out_must_leave_something_to_fit(digits):
    train, labels, test, answers = digits
    nothing, everything, a_class = torch.zeros(len(labels)).bool(), torch.ones(len(labels)).bool(), labels == 3
    for held in (nothing, everything, a_class):
        with pytest.raises(ValueError, match=r"held=\d+ of \d+ items; it wants some, and at least one of each class"):
            probe(train, labels, test, answers, held=held)
