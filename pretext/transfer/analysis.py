"""From the losses of all transfers to a map: affinities, win rates, predictions, policies, similar sources."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.cluster.hierarchy import linkage

from pretext.transfer.affinity import priorities, win_interval, win_rates
from pretext.transfer.cheap_scores import agreement
from pretext.transfer.complete import complete
from pretext.transfer.policy import best_policy
from pretext.transfer.results import Choice, Entry, Measured, Merge, Ranking, TransferMap
from pretext.transfer.tables import BAR, REFERENCES, Matrix

SELF = ("self",)


def analyse(
    title: str, sources: Sequence[str], targets: Sequence[str], measured: Sequence[Measured], planned: int
) -> TransferMap:
    """Make a map of what was measured so far; `sources` without `self` and `random`, which are added."""
    names = (*sources, *REFERENCES)
    done = [one for one in measured if one.failed is None]
    entries: list[Entry] = []
    consistency = {}
    for target in targets:
        own = [one for one in done if one.target == target]
        if own:
            found, consistency[target] = tournament(own)
            entries += found
    entries += predictions(names, targets, entries)
    failed = {f"{BAR.join(one.sources)} to {one.target}": str(one.failed) for one in measured if one.failed is not None}
    choices = policies(entries, sources, targets)
    tree = similarity(entries, sources, targets)
    ranked = rankings(done, entries)
    return TransferMap(
        title, names, tuple(targets), tuple(entries), choices, tree, ranked, failed, planned, consistency
    )


def rankings(measured: Sequence[Measured], entries: Sequence[Entry]) -> tuple[Ranking, ...]:
    """Compare scores that took no training with affinities, where three sources or more have both."""
    found = []
    affinities = {(e.sources, e.target): e.affinity for e in entries if not e.predicted}
    for target in dict.fromkeys(one.target for one in measured if one.scores):
        own = [one for one in measured if one.target == target and one.scores and one.sources != SELF]
        true = {one.sources[0]: affinities[one.sources, target] for one in own}
        for score in own[0].scores if len(own) > 2 else ():
            said = agreement({one.sources[0]: one.scores[score] for one in own}, true)
            rank = said.spearman
            found.append(Ranking(target, score, rank.n, rank.rho, rank.low, rank.high, said.kendall, said.regret))
    return tuple(found)


def tournament(measured: Sequence[Measured]) -> tuple[list[Entry], float]:
    """Let all transfers to one target compete; return an entry for each, and the tournament's consistency index."""
    losses = np.array([one.losses for one in measured])
    rates = win_rates(losses, [BAR.join(one.sources) for one in measured])
    found = priorities(rates)
    items = losses.shape[-1]
    opponent = next((k for k, one in enumerate(measured) if one.sources == SELF), None)
    entries = []
    for k, one in enumerate(measured):
        entry = Entry(one.sources, one.target, float(found.weights[k]), loss=one.mean)
        if opponent is not None:
            win = float(rates[k, opponent])
            low, high = win_interval(win, items)
            entry = replace(entry, win=win, win_low=low, win_high=high)
        entries.append(entry)
    return entries, found.consistency


def predictions(sources: Sequence[str], targets: Sequence[str], entries: Iterable[Entry]) -> list[Entry]:
    """Predict first-order affinities that are missing, where each source and each target has an entry."""
    known = {(e.sources[0], e.target): e.affinity for e in entries if len(e.sources) == 1}
    rows = [s for s in sources if s not in REFERENCES and any((s, t) in known for t in targets)]
    columns = [t for t in targets if any((s, t) in known for s in rows)]
    values = np.array([[known.get((s, t), math.nan) for t in columns] for s in rows])
    if len(rows) < 3 or len(columns) < 3 or not np.isnan(values).any():
        return []
    found = complete(Matrix(tuple(rows), tuple(columns), values))
    return [
        Entry(
            (rows[s],),
            columns[t],
            float(found.matrix.values[s, t]),
            True,
            float(found.low[s, t]),
            float(found.high[s, t]),
        )
        for s, t in np.argwhere(found.predicted).tolist()
    ]


def policies(entries: Sequence[Entry], sources: Sequence[str], targets: Sequence[str]) -> tuple[Choice, ...]:
    """Choose the best sources for each budget up to that which helps most; none while a target is served by nothing."""
    by_key: Mapping[tuple[str, str], Entry] = {(BAR.join(e.sources), e.target): e for e in entries}
    usable = [e for e in entries if not set(REFERENCES) & set(e.sources)]
    if {e.target for e in usable if len(e.sources) == 1} != set(targets):
        return ()
    table, choices = [e.transfer for e in usable], list[Choice]()
    single = [s for s in sources if all((s, t) in by_key for t in targets)]
    if not single:
        return ()
    for budget in range(1, len(sources) + 1):
        policy = best_policy(table, budget)
        if len(policy.sources) < budget:  # more does not help
            break
        used = [by_key[t.name, t.target] for t in policy.transfers.values()]
        wins = [e.win for e in used if not math.isnan(e.win)]
        first = choices[0].value if choices else policy.value
        serving = {target: t.name for target, t in policy.transfers.items()}
        over_self = math.fsum(wins) / len(wins) if wins else math.nan
        guessed = any(e.predicted for e in used)
        choices.append(Choice(budget, policy.sources, serving, policy.value, policy.value - first, over_self, guessed))
    return tuple(choices)


def similarity(entries: Sequence[Entry], sources: Sequence[str], targets: Sequence[str]) -> tuple[Merge, ...]:
    """Join sources whose rows of first-order affinities are alike, the nearest first (average linkage).

    A row is the logarithms of its affinities, standardised for each target. Sources with a hole are left out, of what
    is predicted nothing is taken.
    """
    known = {(e.sources[0], e.target): e.affinity for e in entries if len(e.sources) == 1 and not e.predicted}
    whole = [s for s in sources if all((s, t) in known for t in targets)]
    if len(whole) < 3:
        return ()
    rows = np.log(np.array([[known[s, t] for t in targets] for s in whole]))
    rows = (rows - rows.mean(0)) / np.where(rows.std(0) > 0, rows.std(0), 1)
    groups: list[tuple[str, ...]] = [(s,) for s in whole]
    merges = []
    for left, right, distance, _ in linkage(rows / math.sqrt(len(targets)), "average"):
        merge = Merge(groups[int(left)], groups[int(right)], float(distance))
        merges.append(merge)
        groups.append(merge.left + merge.right)
    return tuple(merges)
