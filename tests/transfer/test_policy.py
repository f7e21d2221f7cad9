"""Which sources to train: brute force, Taskonomy's table of policies, and what cannot be served."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from reference import TASKONOMY, needs_reference

from pretext.transfer.policy import best_policy
from pretext.transfer.tables import Transfer, read_transfers

LOW, HIGH = Transfer(("a",), "t", 0.3), Transfer(("b",), "t", 0.7)


def random_table(seed, sources=6, targets=4, order=3):
    draw = np.random.default_rng(seed)
    names = [chr(ord("a") + k) for k in range(sources)]
    sets = [s for k in range(1, order + 1) for s in combinations(names, k)]
    every = [Transfer(s, f"t{k}", float(draw.random())) for k in range(targets) for s in sets]
    kept = [t for t in every if t.order == 1 or draw.random() < 0.4]
    costs = {name: float(draw.integers(1, 4)) for name in names}
    weights = {f"t{k}": float(draw.random()) for k in range(targets)}
    return kept, costs, weights


def brute_force(transfers, budget, costs, weights):
    """Try every set of sources."""
    names = sorted({source for t in transfers for source in t.sources})
    best = -math.inf
    for size in range(1, len(names) + 1):
        for chosen in map(set, combinations(names, size)):
            if sum(costs[name] for name in chosen) <= budget:
                of = {}
                for t in transfers:
                    if set(t.sources) <= chosen:
                        of[t.target] = max(of.get(t.target, -math.inf), weights[t.target] * t.value)
                if len(of) == len(weights):
                    best = max(best, sum(of.values()))
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sources", [2, 6])
def test_it_is_the_best_of_all_sets_of_sources(seed, sources):
    transfers, costs, weights = random_table(seed, sources)
    for budget in (3, 5, 8):
        policy = best_policy(transfers, budget, costs, weights)
        assert policy.value == pytest.approx(brute_force(transfers, budget, costs, weights), abs=1e-9)
        assert policy.cost == sum(costs[name] for name in policy.sources) <= budget
        assert {source for t in policy.transfers.values() for source in t.sources} == set(policy.sources)
        assert policy.value == pytest.approx(sum(weights[t.target] * t.value for t in policy.transfers.values()))


def test_more_budget_is_never_worse():
    transfers, costs, _ = random_table(9)
    values = [best_policy(transfers, budget, costs).value for budget in range(3, 14)]
    assert values == sorted(values)


@needs_reference
@pytest.mark.parametrize(
    ("order", "budgets"),
    [
        (1, (1, 2, 3, 4, 6, 8, 12, 26)),
        (3, (2, 4, 26)),
        pytest.param(3, (1, 3, 6, 8, 12), marks=pytest.mark.slow),  # seconds
    ],
)
def test_taskonomys_table_has_the_known_policies(order, budgets):
    transfers = read_transfers(TASKONOMY / "all_affinities_16k.csv")
    known = json.loads((TASKONOMY / "bip_policies_16k_computed_here.json").read_text())
    for budget in budgets:
        answer = known[f"maxorder{order}_budget{budget}"]
        policy = best_policy(transfers, budget, max_order=order)
        assert policy.value == pytest.approx(answer["value"], abs=1e-6)
        assert set(policy.sources) <= set(answer["sources"])  # all 26 may be trained, but not all serve
        assert budget == 26 or len(policy.sources) == budget


def test_self_and_random_and_holes_cannot_be_chosen():
    others = [Transfer((name,), "t", 1.0) for name in ("self", "random")]
    hole = Transfer(("c",), "t", math.nan)
    assert best_policy([LOW, HIGH, *others, hole], 1).sources == ("b",)


@pytest.mark.parametrize(
    ("transfers", "arguments", "message"),
    [
        ([LOW, Transfer(("self",), "u", 1.0)], {}, r"no transfer serves u; measure one"),
        ([LOW, Transfer(("a", "b"), "u", 1.0)], {"max_order": 1}, r"no transfer of at most 1 sources serves u"),
        (
            [LOW, Transfer(("a", "b"), "u", 1.0)],
            {},
            r"a budget of 1, but what serves these targets costs more: u \(2\)",
        ),
        ([LOW, Transfer(("b",), "u", 1.0)], {}, r"a budget of 1: each target has .* no sources serve all of t, u"),
        ([LOW, HIGH], {"costs": {"bb": 2.0}}, r"costs of sources: the table has no 'bb'; did you mean 'b'\?"),
        ([LOW, HIGH], {"weights": {"x": 2.0}}, r"weights of targets: the table has no 'x'; there are t"),
        ([LOW, HIGH], {"costs": {"b": -1.0}}, r"a negative number, of b"),
    ],
)
def test_what_cannot_be_served_is_named(transfers, arguments, message):
    with pytest.raises(ValueError, match=message):
        best_policy(transfers, 1, **arguments)
