"""What a study has shown so far: all that a page says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pretext.evaluation.statistics.correlation import Correlation
from pretext.search import analysis
from pretext.search.importance import Importance, importance
from pretext.search.space import ZERO
from pretext.search.study import Candidate


@dataclass(frozen=True)
class Results:
    """The candidates of a study, finished or not, and what can be said of them.

    Args:
        candidates: all, by index.
        names: of the weights.
        ended: searched candidates that are done, pruned or failed, in the order in which they ended.
        searched: those of them that are done.
        controls: those that are done, the fittest first.
        main_controls: all zero, all equal, and the fittest task alone.
        probed: done candidates with a probe accuracy, controls among them.
        best: the fittest of the search.
        median: the candidate of the search in the middle of the order of fitness.
        unmoved: indices of controls that do not reach the judged network.
        importance: of each weight.
        agreement: of fitness and probe accuracy, over candidates of the search.
        agreement_of_all: the same, over controls too.

    """

    candidates: Sequence[Candidate]
    names: Sequence[str]
    ended: Sequence[Candidate]
    searched: Sequence[Candidate]
    controls: Sequence[Candidate]
    main_controls: Sequence[Candidate]
    probed: Sequence[Candidate]
    best: Candidate | None
    median: Candidate | None
    unmoved: frozenset[int]
    importance: Importance
    agreement: Correlation
    agreement_of_all: Correlation


Verdict = Literal["nothing", "no control", "search", "equal", "control"]
"""What is the fittest: nothing is done yet; no control is done; a mixture of the search; neither; a control."""


def verdict(results: Results) -> Verdict:
    """Say what is the fittest. A fitness has no interval, so a small lead may be luck."""
    best, control = results.best, next(iter(results.controls), None)
    if best is None:
        return "nothing"
    if control is None:
        return "no control"
    ours, theirs = analysis.fitness(best), analysis.fitness(control)
    return "search" if ours > theirs else "equal" if ours == theirs else "control"


Reward = Literal["unknown", "nothing", "hardly", "training"]
"""What a fitness rewards: not known; a random network at least as much as all that was trained; as every control."""


def reward(results: Results) -> Reward:
    """Say whether something trained is fitter than the random network, which is a control itself."""
    zero = next((c for c in results.controls if c.control == ZERO), None)
    trained = [analysis.fitness(c) for c in results.controls if c is not zero]
    if zero is None:
        return "unknown"
    if results.best and analysis.fitness(zero) >= analysis.fitness(results.best):
        return "nothing"
    return "hardly" if trained and analysis.fitness(zero) >= trained[0] else "training"


def results_of(candidates: Sequence[Candidate]) -> Results:
    """Analyse the candidates of a study."""
    searched, controls = analysis.searched(candidates), analysis.controls(candidates)
    probed = analysis.probed(candidates)
    return Results(
        candidates,
        analysis.weight_names(candidates),
        analysis.ended(candidates),
        searched,
        controls,
        analysis.main_controls(candidates),
        probed,
        analysis.fittest(searched),
        analysis.median(searched),
        frozenset(c.index for c in controls if analysis.does_not_reach(c, candidates)),
        importance(searched),
        analysis.agreement(analysis.searched(probed)),
        analysis.agreement(probed),
    )
