"""The results of a search in words: the fittest against the controls, and whether fitness says what labels say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from pretext.evaluation.statistics.correlation import Correlation
from pretext.report.words import rho
from pretext.search.analysis import fitness, probe_share
from pretext.search.results import Results
from pretext.search.space import EQUAL, ZERO
from pretext.search.study import Candidate

NETWORK = {ZERO: "all zero (a random network)", EQUAL: "all equal"}
STATES = ("done", "running", "waiting", "pruned", "failed")
LEVEL = 0.05  # of significance


def number(value: float) -> str:
    """Write a number."""
    return f"{value:.6g}" if value == int(value) else f"{value:#.4g}"


def percent(probe: dict[str, float] | None) -> str:
    """Write a probe's accuracy in per cent with its interval; a dash where it was not measured."""
    accuracy, low, high = (100 * probe_share(probe, key) for key in ("accuracy", "low", "high"))
    interval = f" ({low:.1f} to {high:.1f})" if low <= high else ""
    return f"{accuracy:.1f} %{interval}" if math.isfinite(accuracy) else "-"


def label(candidate: Candidate) -> str:
    """Name a candidate by its control or by its number."""
    return candidate.control if candidate.control is not None else f"candidate {candidate.index}"


def described(candidate: Candidate) -> str:
    """Name a candidate in a sentence, the control without any training as what it is."""
    return NETWORK.get(candidate.control or "", label(candidate))


def counted(candidates: Sequence[Candidate]) -> str:
    """Say how many candidates are in which state: "38 done, 1 failed"."""
    counts = Counter[str](candidate.state for candidate in candidates)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "none"


def headline(results: Results) -> list[str]:
    """Say in sentences what came out: first whether the search or a control is the fittest, then the controls."""
    best, levels = results.best, results.controls
    if best is None:
        tried = [c for c in results.candidates if c.control is None and c.state != "waiting"]
        first = "No candidate of the search is done yet" + (f" ({counted(tried)})." if tried else ".")
    elif not levels:
        first = f"Number {best.index} of the search is the fittest: {number(fitness(best))}."
    else:
        first = _against(best, levels[0])
    alone = {c.index: "" if c.control in NETWORK else "the best task alone, " for c in levels}
    parts = ", ".join(f"{alone[c.index]}{described(c)} {number(fitness(c))}" for c in results.main_controls)
    fixed = f"Controls, whose weights are fixed: {parts}." if levels else "No control is done yet to compare with."
    return [first, fixed, *_warnings(best, levels)]


def _against(best: Candidate, level: Candidate) -> str:
    """Compare the fittest of the search with the fittest control."""
    gain = fitness(best) - fitness(level)
    if gain > 0:
        above = f"{gain:.2g} above the best control, {described(level)}"
        return f"Number {best.index} of the search is the fittest: {number(fitness(best))}, {above}."
    than = f"{number(fitness(level))} against {number(fitness(best))} of number {best.index}"
    kind = "as fit as" if gain == 0 else "fitter than"
    return f"A control is {kind} everything that the search found: {described(level)}, {than}."


def _warnings(best: Candidate | None, levels: Sequence[Candidate]) -> Iterator[str]:
    """Say so where a network that was never trained is as fit as those that were."""
    zero = next((c for c in levels if c.control == ZERO), None)
    others = [c for c in levels if c.control != ZERO]
    if zero and best and fitness(zero) >= fitness(best):
        yield "The random network is at least as fit as all that the search trained: this fitness rewards no training."
    elif zero and others and fitness(zero) >= fitness(others[0]):
        yield "The random network is at least as fit as every other control: this fitness hardly rewards training here."


def fitness_and_labels(results: Results) -> list[str]:
    """Say how the fitness goes with the probe accuracy of the same candidates, and what choosing by it gave."""
    own = [c for c in results.probed if c.control is None]
    rank = rho(results.agreement, "candidates")
    sentences = [
        f"Spearman's rank correlation over the candidates of the search: {rank}.",
        *_meaning(results.agreement),
    ]
    if len(results.probed) > len(own):
        of_all = rho(results.agreement_of_all, "candidates")
        sentences.append(f"With the controls, whose weights are extreme: {of_all}.")
    if own and len(own) < len(results.searched):
        chosen = "if they were chosen by fitness, the correlation is understated"
        sentences.append(f"Only {len(own)} of the {len(results.searched)} done candidates were probed; {chosen}.")
    return [*sentences, *_choice(results.best, own)]


def _choice(best: Candidate | None, own: Sequence[Candidate]) -> Iterator[str]:
    """Say what accuracy the choice by fitness has among the probed candidates of the search."""
    top = max(own, key=lambda c: probe_share(c.probe), default=None)
    if best is None or top is None:
        return
    if best not in own:
        yield f"The fittest, {label(best)}, was not probed."
        return
    rank = 1 + sum(probe_share(c.probe) > probe_share(best.probe) for c in own)
    yield f"The fittest, {label(best)}, has a probe accuracy of {percent(best.probe)}: rank {rank} of {len(own)}."
    if rank > 1:
        yield f"The best probe of the search is that of {label(top)}: {percent(top.probe)}."


def _meaning(rank: Correlation) -> Iterator[str]:
    if rank.p >= LEVEL:
        yield "So these candidates do not show that the fitness says anything about accuracy on labels."
    elif rank.rho < 0:
        yield "So the fitter candidates have the worse probes: here this fitness misleads."
    elif rank.p < LEVEL:  # NaN where there is no correlation
        better = "better probes (weakly)" if rank.rho < 0.5 else "better probes"
        yield f"So the fitter candidates have the {better}: the fitness, which saw no test labels, is a guide."
