"""What the words in a page's tables mean: from what protocols say of themselves, and a short list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pretext.evaluation.protocol import Description
from pretext.report.table import Table

SHORT = {
    "Features": "Whose features these are: the trained network's, those of the same network at random initialisation, "
    "or the raw input itself, through no network at all.",
    "trained": "The network that this run trained.",
    "random": "The same network at random initialisation: what its shape alone gives.",
    "raw": "The input as it is (pixels, or a sound's log-mel picture), through no network.",
    "Stage": "A place in the network whose output is measured, shallow to deep. ★ is the stage that is best on a "
    "validation share of train; test items choose nothing.",
    "Dims": "Numbers that a stage's output is pooled to before it is measured.",
    "Items": "Training items whose labels are used.",
    "Labels": "How many labels are given: so many of each class, or a share of all.",
    "L2": "Strength of the linear probe's penalty, chosen on validation.",
    "k": "Number of nearest neighbours that vote, chosen on validation.",
    "interval": "Beside a value its 95 % interval. Where two intervals do not overlap, the values differ; where they "
    "do, nobody can tell from these numbers.",
    "chance": "What a blind guess scores: always the most frequent class.",
    "blind guess": "What a task's score is without looking at the question.",
    "Rank": "The places that the 95 % interval allows among the entries trained without labels.",
    "Entry": "What was trained and measured. ° its interval does not lie above that of random initialisation.",
    "Skill": "The share of a blind guess's loss that training on the pretext tasks removed; roughly, across tasks.",
    "Seeds": "How many times it was trained anew, with other random numbers; values are means over them.",
    "Seed": "The number that all random draws of a training depend on.",
    "Time": "Of a run: its training and its probe.",
    "Fitness": "What the search maximises; it sees no labels unless it is told to.",
    "Candidate": "A mixture of the tasks' weights that was trained.",
    "Weight": "A factor of a task's loss in the mixture.",
    "Share": "Share of the spread in fitness that a weight explains.",
    "control": "A mixture with fixed weights, to compare the search with.",
    "Curve": "Entries that differ in an amount alone, such as the number of images that they were trained on.",
    "Kind": "Whether the search drew a candidate, or it is a control with fixed weights.",
    "State": "What became of a candidate: done, pruned (stopped early, far behind others), failed, running or waiting.",
    "Number": "A candidate's number, in the order in which they were made.",
    "Steps": "Optimiser steps that it was trained for.",
    "Finished after": "Time since the first candidate began.",
    "Worker": "The process that trained it.",
    "Probe accuracy": "Accuracy of a linear probe on labels that the search never saw.",
    "Pretext scores": "How well the run's own tasks were answered on held-out items.",
    "Command": "What repeats it.",
    "Training and probe": "How long each took.",
}
"""By the words in tables, and a few that stand beside them."""
ALWAYS = ("interval",)


def glossary(tables: Iterable[Table], described: Iterable[Description], words: Iterable[str] = ()) -> dict[str, str]:
    """Explain the headings of tables, and some more words, in the order in which they come."""
    said = _of_protocols(described)
    every = [*(column.title for table in tables for column in table.columns), *words, *ALWAYS]
    known = SHORT | dict(said)
    longest = sorted(known, key=len, reverse=True)  # "Linear probe" before "Linear"
    begin = (next((t for t in longest if f"{word} ".startswith((f"{t} ", f"{t},"))), None) for word in every)
    return {term: known[term] for term in begin if term is not None}


def _of_protocols(described: Iterable[Description]) -> Mapping[str, str]:
    """Take what protocols say of themselves: how they measure, and what each of their metrics is."""
    said: dict[str, str] = {}
    for own in described:
        for name in dict.fromkeys((own.heading, own.title)):
            said.setdefault(name, f"{own.about[:1].upper()}{own.about[1:]}.")
        for metric in own.metrics:
            for name in filter(None, (metric.short, metric.title if own.apart else "")):
                said.setdefault(name, metric.about or f"{metric.title}, of {own.title}.")
    return said
