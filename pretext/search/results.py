"""What a study has shown so far: all that a page says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pretext.evaluation.statistics.correlation import Correlation
from pretext.search import analysis
from pretext.search.importance import Importance, importance
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
