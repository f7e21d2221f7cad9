"""What a study found, in words: the fittest against the controls, and whether fitness says what labels say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from pretext.evaluation.statistics.correlation import Correlation, spearman
from pretext.search.analysis import (
    EQUAL,
    ZERO,
    called,
    controls,
    fitness,
    fittest,
    probed,
    searched,
    share,
    told_apart,
)
from pretext.search.study import Candidate

NETWORK = {ZERO: "all zero (a random network)", EQUAL: "all equal"}
STATES = ("done", "running", "waiting", "pruned", "failed")
SOME = 0.05  # level of a test


def number(value: float) -> str:
    """Write a number; a dash for what is not finite."""
    return "-" if not math.isfinite(value) else f"{value:.6g}" if value == int(value) else f"{value:#.4g}"


def percent(probe: dict[str, float] | None) -> str:
    """Write a probe's accuracy in per cent with its interval; a dash where it was not measured."""
    accuracy, low, high = (100 * share(probe, key) for key in ("accuracy", "low", "high"))
    bounds = f" ({low:.1f} to {high:.1f})" if low <= high else ""
    return f"{accuracy:.1f} %{bounds}" if math.isfinite(accuracy) else "-"


def duration(seconds: float) -> str:
    """Write a time."""
    if seconds < 3600:
        return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    return "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))


def named(candidate: Candidate) -> str:
    """Name a candidate in a sentence, the control without any training as what it is."""
    return NETWORK.get(candidate.control or "", called(candidate))


def counted(candidates: Sequence[Candidate]) -> str:
    """Say how many candidates are in which state: "38 done, 1 failed"."""
    found = Counter[str](candidate.state for candidate in candidates)
    return ", ".join(f"{found[state]} {state}" for state in STATES if found[state]) or "none"


def headline(candidates: Sequence[Candidate]) -> list[str]:
    """Say in sentences what came out: first who is fittest, the search or a control, then the controls."""
    best, levels = fittest(searched(candidates)), controls(candidates)
    if best is None:
        tried = [c for c in candidates if c.control is None and c.state != "waiting"]
        first = "No candidate of the search is done yet" + (f" ({counted(tried)})." if tried else ".")
    elif not levels:
        first = f"Number {best.index} of the search is the fittest: {number(fitness(best))}."
    else:
        first = _against(best, levels[0])
    parts = ", ".join(map(_control, told_apart(candidates)))
    fixed = f"Controls, whose weights are fixed: {parts}." if levels else "No control is done yet to compare with."
    return [first, fixed, *_warnings(best, levels)]


def _control(candidate: Candidate) -> str:
    best = "" if candidate.control in NETWORK else "the best task alone, "
    return f"{best}{named(candidate)} {number(fitness(candidate))}"


def _against(best: Candidate, level: Candidate) -> str:
    """Compare the fittest of the search with the fittest control."""
    gain = fitness(best) - fitness(level)
    if gain > 0:
        above = f"{gain:.2g} above the best control, {named(level)}"
        return f"Number {best.index} of the search is the fittest: {number(fitness(best))}, {above}."
    than = f"{number(fitness(level))} against {number(fitness(best))} of number {best.index}"
    kind = "as fit as" if gain == 0 else "fitter than"
    return f"A control is {kind} everything that the search found: {named(level)}, {than}."


def _warnings(best: Candidate | None, levels: Sequence[Candidate]) -> Iterator[str]:
    """Say so where a network that was never trained is as fit as those that were."""
    zero = next((c for c in levels if c.control == ZERO), None)
    others = [c for c in levels if c.control != ZERO]
    if zero and best and fitness(zero) >= fitness(best):
        yield "The random network is at least as fit as all that the search trained: this fitness rewards no training."
    elif zero and others and fitness(zero) >= fitness(others[0]):
        yield "The random network is at least as fit as every other control: this fitness hardly rewards training here."


# ---- Fitness and labels


def agreement(candidates: Sequence[Candidate]) -> list[str]:
    """Say how the fitness goes with the probe accuracy of the same candidates, and what choosing by it gave."""
    shown = probed(candidates)
    own = searched(shown)
    found = spearman((fitness(c), share(c.probe)) for c in own)
    sentences = [f"Spearman's rank correlation over the candidates of the search: {_rho(found)}.", _meaning(found)]
    if len(shown) > len(own):
        every = spearman((fitness(c), share(c.probe)) for c in shown)
        sentences.append(f"With the controls, whose weights are extreme: {_rho(every)}.")
    done = searched(candidates)
    if own and len(own) < len(done):
        sentences.append(
            f"Only {len(own)} of the {len(done)} done candidates were probed; "
            "if they were chosen by fitness, the correlation is understated."
        )
    return [*filter(None, sentences), *_chosen(done, own)]


def _chosen(done: Sequence[Candidate], own: Sequence[Candidate]) -> Iterator[str]:
    """Say what accuracy the choice by fitness has among those of the search."""
    best = fittest(done)
    top = max(own, key=lambda c: share(c.probe), default=None)
    if best is None or top is None:
        return
    if best not in own:
        yield f"The fittest, {called(best)}, was not probed."
        return
    rank = 1 + sum(share(c.probe) > share(best.probe) for c in own)
    yield f"The fittest, {called(best)}, has a probe accuracy of {percent(best.probe)}: rank {rank} of {len(own)}."
    if rank > 1:
        yield f"The best probe of the search is that of {called(top)}: {percent(top.probe)}."


def _rho(found: Correlation) -> str:
    if math.isnan(found.rho):
        why = "fewer than 4 have both" if found.n < 4 else "one side is the same for all"
        return f"not computed ({why}, n = {found.n})"
    bounds = "" if math.isnan(found.low) else f", 95 % interval {found.low:.2f} to {found.high:.2f}"
    return f"{found.rho:.2f}{bounds}, p = {found.p:.2g}, n = {found.n}"


def _meaning(found: Correlation) -> str:
    if math.isnan(found.rho):
        return ""
    if found.p >= SOME:
        return "So these candidates do not show that the fitness says anything about accuracy on labels."
    if found.rho < 0:
        return "So the fitter candidates have the worse probes: here this fitness misleads."
    weak = " (weakly)" if found.rho < 0.5 else ""
    return f"So the fitter candidates have the better probes{weak}: the fitness, which saw no test labels, is a guide."
