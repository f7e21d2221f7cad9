"""SimCLR on CIFAR-10 with the settings and figures of github.com/dkobak/simclr-cifar10, and its two read-outs."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pretext.benchmark.reproduce import Publication, Readout
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.nearest_neighbours import knn
from pretext.evaluation.statistics.intervals import accuracy_of

ACCURACY = (Metric("accuracy", "accuracy", unit="%", interval="Wilson"),)
NEIGHBOURS = 10
EPOCHS, BATCH, RATE, DECAY = 500, 512, 0.01, 5e-6


class TenNeighbours(Protocol):
    """An equal vote of the ten nearest training items by cosine."""

    description = Description("knn10", "kNN, k = 10", "cosine, equal votes of 10, on each stage's average", ACCURACY)

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        (train, test), (labels, answers) = sets.mean(stage), sets.labels()
        return Score(accuracy_of(knn(train, labels, test, [NEIGHBOURS], math.inf)[NEIGHBOURS], answers))


class AdamLinear(Protocol):
    """A linear classifier of stored features by Adam: 500 epochs of batches of 512, rate .01, cosine, decay 5e-6."""

    description = Description("adam", "Linear, Adam", "500 epochs of Adam on each stage's average", ACCURACY)

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        (train, test), (labels, answers) = sets.mean(stage), sets.labels()
        classes, targets = torch.unique(labels, return_inverse=True)
        classify = fitted(train.float(), targets, len(classes), rng)
        with torch.no_grad():
            return Score(accuracy_of(classes[classify(test.float()).argmax(1)], answers))


def fitted(x: Tensor, y: Tensor, classes: int, rng: Generator, epochs: int = EPOCHS) -> nn.Linear:
    """Fit a linear classifier to features (N, D) and classes (N,) in [0, `classes`)."""
    classify = nn.Linear(x.shape[1], classes, device=x.device)
    bound = x.shape[1] ** -0.5  # as torch draws it, but by `rng`
    for weights in classify.parameters():
        weights.data = (2 * torch.rand(weights.shape, generator=rng) - 1).to(x.device) * bound
    optimizer = torch.optim.Adam(classify.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for items in torch.split(torch.randperm(len(x), generator=rng).to(x.device), BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(classify(x[items]), y[items]))
            optimizer.step()
        schedule.step()
    return classify


SIMCLR = Publication(
    name="simclr",
    title="SimCLR on CIFAR-10, test accuracy in %",
    config="simclr_cifar10.yaml",
    epochs=100,
    published={},
    readouts=(Readout(TenNeighbours(), "layer4", 83.2), Readout(AdamLinear(), "layer4", 85.6)),
    notes="published with ± 0.2 over 3 seeds, 20 minutes on an A100",
)
