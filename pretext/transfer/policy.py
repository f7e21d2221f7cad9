"""Which tasks to train on a budget, so that every target finds a good source: Taskonomy's boolean integer program.

    maximise    sum_e weight(target of e) value(e) x_e
    subject to  x_e <= x_s                       for every source s of every transfer e
                exactly one x_e is 1             for every target
                sum_s cost(s) x_s <= budget

The paper sums the first condition over the sources of a transfer. With whole numbers that says the same, and the
solver takes longer, since it allows more fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_array

from pretext.transfer.tables import REFERENCES, Transfer, check_names

_INFEASIBLE = 2  # status of `milp`


@dataclass(frozen=True)
class Policy:
    """Sources to train, and the transfer that serves each target.

    Args:
        budget: what may be spent.
        cost: what is spent.
        value: the sum over targets of weight times the value of the chosen transfer.
        sources: to train, sorted by name; those that serve no target are left out.
        transfers: by target.

    """

    budget: float
    cost: float
    value: float
    sources: tuple[str, ...]
    transfers: Mapping[str, Transfer] = field(default_factory=dict)


def best_policy(
    transfers: Sequence[Transfer],
    budget: float,
    costs: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    max_order: int | None = None,
) -> Policy:
    """Choose the sources that serve all targets best, exactly.

    What was not measured, and what has `self` or `random` among its sources, cannot be chosen. A target may be served
    by the source of the same name.

    Args:
        transfers: a table, larger values are better.
        budget: largest sum of costs.
        costs: of sources, 1 unless given.
        weights: of targets, 1 unless given.
        max_order: most sources of one transfer; None: as many as there are.

    Raises:
        ValueError: unknown names, negative numbers, targets that no transfer serves, or none within the budget.

    """
    costs, weights = dict(costs or {}), dict(weights or {})
    edges, targets = _edges(transfers, max_order)
    sources = sorted({source for edge in edges for source in edge.sources})
    check_names(costs, {source for t in transfers for source in t.sources}, "costs of sources")
    check_names(weights, targets, "weights of targets")
    bad = [name for name, number in [*costs.items(), *weights.items()] if not number >= 0]
    if bad or not budget >= 0:
        raise ValueError(f"best_policy got a negative number, of {', '.join(bad) or 'the budget'}; it wants 0 or more")
    price = np.array([costs.get(source, 1.0) for source in sources])
    _check_budget(edges, targets, dict(zip(sources, price, strict=True)), budget)
    chosen = _solve(edges, targets, sources, price, budget, weights)
    serving = {edge.target: edge for edge in chosen}
    used = tuple(sorted({source for edge in chosen for source in edge.sources}))
    value = sum(weights.get(edge.target, 1.0) * edge.value for edge in chosen)
    spent = sum(costs.get(source, 1.0) for source in used)
    return Policy(budget, spent, value, used, {target: serving[target] for target in targets})


def _edges(transfers: Sequence[Transfer], max_order: int | None) -> tuple[list[Transfer], list[str]]:
    """Find what can be chosen, and the targets.

    Raises:
        ValueError: nothing serves a target.

    """
    edges = [
        t
        for t in transfers
        if t.measured and not set(REFERENCES) & set(t.sources) and (max_order is None or t.order <= max_order)
    ]
    targets = list(dict.fromkeys(t.target for t in transfers))
    served = {edge.target for edge in edges}
    lost = [target for target in targets if target not in served]
    if lost:
        few = "" if max_order is None else f" of at most {max_order} sources"
        raise ValueError(
            f"best_policy: no transfer{few} serves {', '.join(lost)}; measure one (self and random do not count), "
            "predict it (`pretext transfer complete`), or leave the target out"
        )
    return edges, targets


def _check_budget(edges: Sequence[Transfer], targets: Sequence[str], price: Mapping[str, float], budget: float) -> None:
    """Refuse a budget that no transfer to some target fits in.

    Raises:
        ValueError: the message names the targets, and the least that serves each.

    """
    least = dict.fromkeys(targets, np.inf)
    for edge in edges:
        least[edge.target] = min(least[edge.target], sum(price[source] for source in edge.sources))
    dear = [f"{target} ({cost:g})" for target, cost in least.items() if cost > budget]
    if dear:
        raise ValueError(
            f"best_policy got a budget of {budget:g}, but what serves these targets costs more: {', '.join(dear)}"
        )


def _solve(
    edges: Sequence[Transfer],
    targets: Sequence[str],
    sources: Sequence[str],
    price: np.ndarray[tuple[int], np.dtype[np.float64]],
    budget: float,
    weights: Mapping[str, float],
) -> list[Transfer]:
    """Solve the program; its variables are the edges and then the sources.

    Raises:
        ValueError: no set of sources within the budget serves all targets.

    """
    e, s, t = len(edges), len(sources), len(targets)
    pairs = [(column, sources.index(source)) for column, edge in enumerate(edges) for source in edge.sources]
    needs, serves, spends = lil_array((len(pairs), e + s)), lil_array((t, e + s)), lil_array((1, e + s))
    for row, (edge_column, source) in enumerate(pairs):
        needs[row, edge_column], needs[row, e + source] = 1, -1
    for column, edge in enumerate(edges):
        serves[targets.index(edge.target), column] = 1
    spends[0, e:] = price
    gain = [weights.get(edge.target, 1.0) * edge.value for edge in edges]
    found = milp(
        -np.array(gain + [0.0] * s),
        integrality=np.ones(e + s),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(needs.tocsr(), -np.inf, 0),
            LinearConstraint(serves.tocsr(), 1, 1),
            LinearConstraint(spends.tocsr(), -np.inf, budget),
        ],
        options={"mip_rel_gap": 0.0},  # HiGHS is content with 1e-4 otherwise
    )
    if found.status == _INFEASIBLE:
        raise ValueError(
            f"best_policy got a budget of {budget:g}: each target has a transfer within it, but no sources serve all "
            f"of {', '.join(targets)}; raise the budget, or leave targets out"
        )
    if found.x is None:
        raise ValueError(f"best_policy: the solver found nothing: {found.message}")
    return [edge for edge, x in zip(edges, found.x, strict=False) if x > 0.5]
