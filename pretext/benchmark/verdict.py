"""What a board says in the end: which entry leads, and which of those trained without labels beat random features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pretext.benchmark.summary import EntrySummary
from pretext.evaluation.statistics.ranking import Figure
from pretext.evaluation.verdict import Outcome, outcome


@dataclass(frozen=True)
class BoardVerdict:
    """The verdict on a board.

    Args:
        leader: the entry trained without labels that has the highest figure; None where nothing is finished.
        random: the best network at random initialisation.
        outcome: of the two; None where one is missing.
        beating: entries trained without labels whose interval lies above that of random initialisation.
        trained: all of these entries that have a figure.
        level: those that the leader cannot be told from.

    """

    leader: EntrySummary | None
    random: EntrySummary | None
    outcome: Outcome | None
    beating: tuple[str, ...]
    trained: tuple[str, ...]
    level: tuple[str, ...]


def verdict(entries: Sequence[EntrySummary]) -> BoardVerdict:
    """Judge a board's entries, as `summary` returns them: the best first."""
    trained = [entry for entry in entries if entry.kind == "trained" and entry.main]
    leader, random = next(iter(trained), None), next((e for e in entries if e.kind == "random" and e.main), None)
    both = leader and random and outcome(_main(leader), _main(random))
    return BoardVerdict(
        leader=leader,
        random=random,
        outcome=both or None,
        beating=tuple(entry.name for entry in trained if entry.above_random),
        trained=tuple(entry.name for entry in trained),
        level=tuple(e.name for e in trained[1:] if leader and outcome(_main(leader), _main(e)) != "beats"),
    )


def _main(entry: EntrySummary) -> Figure:
    assert entry.main is not None  # only entries with a figure are judged
    return entry.main
