"""Transferability: what cheap scores say of a stage, which take no training and no test item."""

from __future__ import annotations

import torch
from torch import Generator

from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.transferability import PER_CLASS, transferability

ITEMS = 5000
"""Of train that are looked at, at most: a random choice, always the same."""


class Transferability(Protocol):
    """LogME and H-score of a stage's average on train; LEEP and NCE of its clusters (`evaluation.transferability`)."""

    description = Description(
        name="transferability",
        title="Transferability, on the average of each stage",
        short="Transferability",
        about="scores without training, of each stage's average on train; LEEP and NCE of its k-means clusters, "
        f"{PER_CLASS} for each class",
        metrics=(
            Metric("log_me", "LogME", "LogME"),
            Metric("h_score", "H-score", "H-score"),
            Metric("leep", "LEEP of clusters", "LEEP"),
            Metric("nce", "NCE of clusters", "NCE"),
        ),
        apart=True,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        features, labels = sets.mean(stage)[0], sets.labels()[0]
        if len(features) > ITEMS:
            chosen = torch.randperm(len(features), generator=rng)[:ITEMS].to(features.device)
            features, labels = features[chosen], labels[chosen]
        return Score(transferability(features, labels, int(torch.randint(2**31, (), generator=rng))))
