"""Weights of tasks nobody trained: exact manifolds, hand values, who gets a gradient, and bases that nobody shares."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pretext.transfer.task_transfer.known import Known, principal
from pretext.transfer.task_transfer.selection import TRIVIAL, WAYS, leave_one_out, predictions
from pretext.transfer.task_transfer.trivial import best_source, kernel_ridge, weighted_mean
from pretext.transfer.task_transfer.ttnet import Fitted, Settings, TTNet, begin, fit, live_branches, loss_of
from pretext.transfer.task_transfer.vectors import Layout, basis_of, layout_of

MANY, LATENT, WEIGHTS = 12, 3, 200


def manifold(seed, permuted=False, noise=0.0, tasks=MANY + 1, models=4):
    """Draw tasks on a linear manifold, whose correlations are products of what they are made of; the last is unseen."""
    draw = torch.Generator().manual_seed(seed)
    latent = torch.randn(tasks, LATENT, generator=draw, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(WEIGHTS, LATENT, generator=draw, dtype=torch.float64)).Q
    weights = (latent @ axes.T)[:, None] + noise * torch.randn(
        tasks, models, WEIGHTS, generator=draw, dtype=torch.float64
    )
    if permuted:
        orders = torch.stack([torch.randperm(WEIGHTS, generator=draw) for _ in range(tasks)])
        weights = weights.gather(2, orders[:, None].expand_as(weights))
    gamma = latent @ latent.T
    known = Known(tuple(map(str, range(tasks - 1))), weights[:-1], WEIGHTS // 2, gamma[:-1, :-1])
    return known, gamma[:-1, -1], weights[-1].mean(0)


def cosine(known, found, true):
    middle = known.means.mean(0)
    return torch.cosine_similarity(found - middle, true - middle, dim=0).item()


class TestTrivial:
    def test_ridge_recovers_the_unseen_task_of_an_exact_manifold(self):
        for seed in range(3):
            known, gamma, true = manifold(seed)
            assert 1 - torch.cosine_similarity(kernel_ridge(known, gamma), true, dim=0).item() < 1e-3
            assert torch.allclose(kernel_ridge(known, gamma, 1e-9), true, atol=1e-3 * true.norm().item())

    def test_the_mean_is_weighted_by_what_is_above_0(self):
        known = Known(("a", "b", "c"), torch.eye(3)[:, None], 1, torch.eye(3))
        assert weighted_mean(known, torch.tensor([3.0, 1.0, -5.0])).tolist() == [0.75, 0.25, 0]
        assert weighted_mean(known, -torch.ones(3)) == pytest.approx([1 / 3] * 3)
        assert best_source(known, torch.tensor([-1.0, 2.0, 1.0])).tolist() == [0, 1, 0]


class TestTTNet:
    @pytest.mark.parametrize("alone", [True, False])
    def test_gradients_exist_only_in_the_branches_that_a_mode_trains(self, alone):
        known, _, _ = manifold(0, tasks=5)
        fitted = begin(known, Settings(hidden=8))
        loss_of(fitted, 1, alone, 0, torch.Generator().manual_seed(0)).backward()
        fed = [k for k, branch in enumerate(fitted.net.branches) if branch[0].weight.grad is not None]
        assert fed == ([1] if alone else [0, 2, 3])
        assert all(parameter.grad is not None for parameter in fitted.net.trunk.parameters())

    def test_two_tasks_without_consistency_cost_what_is_counted_by_hand(self):
        """Of each of two tasks one network of two weights, (1, 3) and (3, 7); every layer but one has the value 1.

        Encoders 1 and 3 have the mean 2 and lie 1 from it: their coordinates are -1 and 1. Networks lie +-(1, 2) from
        their mean: -1 and 1 on one axis. Transfer from task 1 to 0 then is: the branch says relu(1 + gamma) = 1.5, the
        trunk relu(1.5) times 2, less the true -1: (3 + 1)^2.
        """
        weights = torch.tensor([[[1.0, 3.0]], [[3.0, 7.0]]], dtype=torch.float64)
        known = Known(("a", "b"), weights, 1, torch.tensor([[1.0, 0.25], [0.5, 1.0]], dtype=torch.float64))
        net = TTNet(2, 1, 1, 1).double()
        for parameter in net.parameters():
            nn.init.ones_(parameter) if parameter.ndim == 2 else nn.init.zeros_(parameter)
        nn.init.constant_(net.trunk[2].weight, 2.0)
        encoders, whole = principal(weights[..., :1].flatten(0, 1)), principal(weights.flatten(0, 1))
        for axes in (encoders, whole):  # an axis may point either way
            axes.axes.mul_(axes.axes[0, 0].sign())
        fitted = Fitted(net, whole, known, encoders.into(weights[..., :1]), whole.into(weights))
        draw = torch.Generator()
        assert loss_of(fitted, 0, False, 0, draw).item() == pytest.approx(16)
        assert loss_of(fitted, 1, False, 0, draw).item() == pytest.approx((0 - 1) ** 2)  # relu(-1 + 0.25) is 0
        assert loss_of(fitted, 1, True, 0, draw).item() == pytest.approx((2 * (1 + 1) - 1) ** 2)
        asked = loss_of(fitted, 0, False, 0, draw, 0.5, lambda name, found, _: found.sum() * (name == "a"))
        assert asked.item() == pytest.approx(16 + 0.5 * (2 + 5 + 3 * (1 + 2)))

    def test_a_known_task_is_given_back_in_self_mode(self):
        known, _, _ = manifold(1, tasks=7, models=2)
        fitted = fit(known, Settings(steps=200, rate=2e-2))
        draw = torch.Generator().manual_seed(0)
        losses = [loss_of(fitted, k, True, 0, draw).item() for k in range(6)]
        assert max(losses) < 0.5  # 1 is the mean of all
        assert fitted.remembered == pytest.approx(sum(losses) / 6)

    def test_who_is_fed(self):
        assert live_branches(4, 2, alone=True) == [2]
        assert live_branches(4, 2, alone=False) == [0, 1, 3]

    def test_a_weight_wants_a_loss_and_tasks_want_company(self):
        known, gamma, _ = manifold(0, tasks=4)
        with pytest.raises(ValueError, match=r"consistency=0.5; give the tasks' loss, or 0"):
            fit(known, Settings(consistency=0.5))
        with pytest.raises(ValueError, match="1 known task; it wants two"):
            predictions(known.only([0]), gamma[:1], Settings())
        with pytest.raises(ValueError, match="2 known tasks; it wants three"):
            leave_one_out(known.only([0, 1]), [Settings()])


class TestBasis:
    def test_permuted_bases_beat_nothing_and_are_noticed(self):
        """Cosines of vectors that have nothing to do with each other have a deviation of 1 / sqrt(WEIGHTS)."""
        settings, found, seeds = Settings(steps=20, hidden=16, rate=1e-2), {way: [] for way in WAYS}, 6
        for seed in range(seeds):
            known, gamma, true = manifold(seed, permuted=True, noise=0.01)
            sizes = [WEIGHTS // 2, WEIGHTS // 2]
            assert not basis_of(list(known.weights), sizes, torch.Generator().manual_seed(0)).common
            for way, vector in predictions(known, gamma, settings).items():
                found[way].append(cosine(known, vector, true))
        bound = 4 / (WEIGHTS * seeds) ** 0.5
        assert {way: abs(sum(values) / seeds) < bound for way, values in found.items()} == dict.fromkeys(WAYS, True)

    def test_a_shared_basis_is_known_and_ridge_is_chosen_there(self):
        known, gamma, true = manifold(0, noise=0.01, tasks=9)
        basis = basis_of(list(known.weights), [WEIGHTS], torch.Generator().manual_seed(0))
        assert 0.15 < basis.shared < 0.6  # 1 / LATENT on the average
        assert cosine(known, predictions(known, gamma, Settings(steps=5))["ridge"], true) > 0.9
        found = leave_one_out(known, [Settings(steps=1), Settings(steps=30, rate=1e-2)])
        assert found.best.way == "ridge"
        assert found.settings.steps == 30
        assert [one.way for one in found.left] == ["TTNet", "TTNet", *TRIVIAL]

    def test_a_judge_decides_where_there_is_one(self):
        known, _, _ = manifold(0, tasks=5)
        found = leave_one_out(known, [Settings(steps=1)], judge=lambda name, vector: float(vector.norm()))
        assert found.best.loss == min(one.loss for one in found.left)


class TestVectors:
    def test_a_vector_is_read_back(self):
        net = nn.ModuleDict({"task": nn.Linear(3, 2), "encoder": nn.BatchNorm2d(3)})
        layout = layout_of(net.state_dict())
        vector = layout.vector(net.state_dict())
        assert layout.split == 12
        assert len(vector) == 20
        back = layout.state(vector)
        assert all(torch.equal(back[name], value) for name, value in net.state_dict().items() if name in back)
        assert layout.state(-vector)["encoder.running_var"].min() > 0

    def test_another_shape_is_named(self):
        layout = layout_of({"encoder.a": torch.zeros(2), "task.b": torch.zeros(3)})
        assert isinstance(layout, Layout)
        with pytest.raises(ValueError, match=r"edges has another shape than the others: \(4,\) in task.b, they have"):
            layout.vector({"encoder.a": torch.zeros(2), "task.b": torch.zeros(4)}, "edges")

    def test_principal_axes_give_vectors_back_and_keep_lengths(self):
        vectors = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        space = principal(vectors)
        codes = space.into(vectors)
        assert codes.shape == (5, 4)
        assert torch.allclose(space.back(codes), vectors, atol=1e-9)
        assert codes.square().sum(1).mean().item() == pytest.approx(1)
        assert principal(vectors, most=2).into(vectors).shape == (5, 2)
        assert replace(Settings(), components=2) != Settings()
