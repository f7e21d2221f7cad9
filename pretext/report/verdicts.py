"""Verdicts in words: the sentences with which every page begins. What they say, procedures found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pretext.benchmark.measures import Measure, ranked_by
from pretext.benchmark.results import Board
from pretext.benchmark.verdict import BoardVerdict
from pretext.evaluation.measured import Measured
from pretext.evaluation.protocol import Metric
from pretext.evaluation.results import ProbeResult, Value
from pretext.evaluation.statistics.ranking import Figure
from pretext.evaluation.verdict import Comparison, bounded, outcome, verdict
from pretext.report.words import figure as said
from pretext.supervised.adaptation.readouts import SOURCE_ONLY
from pretext.supervised.scores import MEASURES

WHOM = {"random": "random initialisation", "raw": "the raw input"}
UNPROBED = "Not probed yet: whether the backbone learned anything is not known."


def of_probe(result: ProbeResult) -> list[str]:
    """Say what a probe found, in sentences, the most important first."""
    compared, there = verdict(result), on_what(result)
    if not compared:
        found = sorted({str(row.features) for row in result.stages})
        return [f"{there}: nothing to compare; measured was {' and '.join(found) or 'nothing'}."]
    said = []
    for _, own in groupby(compared, key=lambda one: one.measured):
        first, *rest = own
        beside = (f" {one.outcome[:1].upper()}{one.outcome[1:]} {_other(one)}." for one in rest)
        said.append(f"{there}: {of_comparison(first)}{''.join(beside)}")
    return said


def of_comparison(one: Comparison) -> str:
    """Say one comparison: "beats random initialisation on kNN by 3.6 points: 98.2 % (...) against 94.6 % (...)."."""
    metric, whom = one.measured.metric, WHOM[one.other.features]
    how = f"{one.outcome} {whom} on {_named(one.measured)}"
    if one.outcome == "beats":
        how += f" by {_amount(one.difference, metric)}"
    if one.outcome == "cannot be told from":
        how += " (the intervals overlap)" if bounded(one.trained.value) else " (no intervals)"
    sides = (f"{_with_interval(p.value, metric)} at {p.stage}" for p in (one.trained, one.other))
    return f"{how}: {' against '.join(sides)}."


def _other(one: Comparison) -> str:
    """Name what was compared with, with its value."""
    return f"{WHOM[one.other.features]}, {_with_interval(one.other.value, one.measured.metric)}"


def of_board(board: Board, found: BoardVerdict) -> str:
    """Say what came out of a board in one sentence or two."""
    measure = ranked_by(board)
    if not found.leader:
        return f"{board.name}: no entry that is trained without labels is finished yet."
    best = f"{found.leader.name} ({_main(found.leader.main, measure)})"
    leads = f"{best} leads" if not found.level else f"{best} is first, but cannot be told from {_listed(found.level)}"
    if not found.random:
        return f"{board.name}: {leads}; random initialisation was not measured."
    against = f"random initialisation ({_main(found.random.main, measure)})"
    if len(found.trained) == 1:
        return f"{board.name}: {best} {found.outcome} {against} on {_lower(measure.title)}."
    count = f"{len(found.beating)} of {len(found.trained)} entries trained without labels beat {against}"
    return f"{board.name}, {_lower(measure.title)}: {leads}. {count}."


def of_test(score: Mapping[str, Any]) -> str | None:
    """Say what an evaluator's score on the test items is worth beside chance; None where it has no such score."""
    rows = score.get("rows", [score]) if score else []
    best = next((row for row in rows if row.get("chosen", True) and "low" in row), None)
    name = next((key for key in MEASURES if best and key in best), None)
    if best is None or name is None or "chance" not in score:
        return _of_loss(score)
    value, metric = _value(best, name), Metric(name, name, unit="%")
    if lower := next((row for row in rows if row.get("name") == SOURCE_ONLY and row is not best), None):
        return _across(best, value, _value(lower, name), metric)
    chance = float(score["chance"])
    compared = outcome(value, Value(*[chance] * 3))
    before = f" Before an episode's examples it is {said(score['before'])}." if "before" in score else ""
    return f"On the test items: {compared} chance, {_with_interval(value, metric)} against {said(chance)}.{before}"


def _of_loss(score: Mapping[str, Any]) -> str | None:
    """Say what an episode's examples do to the loss of values, of which there is no chance."""
    if not {"loss", "low", "high", "before"} <= score.keys():
        return None
    after, before = _value(score, "loss"), float(score["before"])
    found = outcome(after, Value(*[before] * 3), smaller=True)
    how = {"beats": "is lower than", "does not beat": "is higher than"}.get(found, found)
    told = f"{_with_interval(after, Metric('loss', 'loss', better='smaller'))} against {said(before, '')}"
    return f"In {score['episodes']:,} test episodes the loss after the examples {how} that before: {told}."


def _across(best: Mapping[str, Any], value: Value, lower: Value, metric: Metric) -> str:
    """Say what adaptation is worth beside source only, and which share of the gap it closes."""
    sides = " against ".join(_with_interval(one, metric) for one in (value, lower))
    share = best.get("gap_closed")
    closed = "" if share is None else f" It closes {said(share, '%')} of the gap to training on the target."
    return f"On the target's test items: {outcome(value, lower)} {SOURCE_ONLY}, {sides}.{closed}"


def _value(row: Mapping[str, Any], name: str) -> Value:
    return Value(row[name], row["low"], row["high"])


def on_what(result: ProbeResult) -> str:
    """Say on what was measured, to begin a sentence with."""
    return " ".join(filter(None, ("On", result.data_name, str((result.data or {}).get("modality", "")))))


def _named(one: Measured) -> str:
    """Name a metric in a sentence: "the linear probe", "kNN", "the linear SVM's mean average precision"."""
    name = _lower(one.protocol.title)
    name = f"the {name}" if name != one.protocol.title else name
    return f"{name} ({one.metric.title})" if one.metric.short else name


def _lower(title: str) -> str:
    """Let a title go on a sentence: "linear probe", but "kNN"."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _amount(value: float, metric: Metric) -> str:
    return f"{100 * value:.1f} points" if metric.unit == "%" else f"{value:.4g}"


def _with_interval(value: Value | Figure, metric: Metric) -> str:
    words = said(value.value, metric.unit)
    if not bounded(value):
        return words
    low, high = (said(end, metric.unit).removesuffix("\u00a0%") for end in (value.low, value.high))
    return f"{words} ({low} to {high})"


def _main(figure: Figure | None, measure: Measure) -> str:
    return "" if figure is None else _with_interval(figure, measure.metric)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
