"""The network that predicts weights: a branch for each source, and a trunk that all share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require
from pretext.core.rng import rng, seed_torch
from pretext.transfer.task_transfer.known import Known, Principal, check, principal

Consistency = Callable[[str, Tensor, int], Tensor]
"""The loss of a network with given weights (P,) on data of a known task, by name, in a step."""


@dataclass(frozen=True)
class Settings:
    """How the network is trained.

    Args:
        hidden: width of a branch and of the trunk.
        components: principal axes of encoders, and of encoders with decoders; 0: all that there are.
        steps: of Adam, whose rate falls to nothing.
        rate: at the first step.
        consistency: weight lambda of the loss of the network whose weights were predicted.
        seed: of all that is drawn.

    """

    hidden: int = 64
    components: int = 0
    steps: int = 1000
    rate: float = 3e-3
    consistency: float = 0.0
    seed: int = 0


class TTNet(nn.Module):
    """Turn the encoders of some sources, and their correlations with a wanted task, to that task's network.

    Args:
        sources: how many branches there are.
        inputs: coordinates of an encoder.
        outputs: coordinates of an encoder with its decoder.
        hidden: width.

    """

    def __init__(self, sources: int, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        require(min(sources, inputs, outputs, hidden) >= 1, self, "a size below 1", "give 1 or more of each")
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(inputs + 1, hidden), nn.ReLU()) for _ in range(sources))
        self.trunk = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, encoders: Tensor, gamma: Tensor, live: Sequence[int]) -> Tensor:
        """Predict (N, outputs) from the branches that are live, which are averaged.

        Args:
            encoders: (N, sources, inputs); what stands for the others is not looked at.
            gamma: (sources,), what each is worth to the wanted task.
            live: which branches are fed.

        """
        parts = []
        for i in live:
            worth = gamma[i].to(encoders.dtype).expand(len(encoders), 1)
            parts.append(self.branches[i](torch.cat((encoders[:, i], worth), 1)))
        predicted: Tensor = self.trunk(torch.stack(parts).mean(0))
        return predicted


class Fitted(NamedTuple):
    """A trained network with the bases that it works in."""

    net: TTNet
    whole: Principal
    known: Known
    encoders: Tensor
    """(m, p, k): coordinates of all encoders, in a basis of their own"""
    networks: Tensor
    """(m, p, K): of all encoders with decoders, in the basis `whole`"""

    def predict(self, gamma: Tensor) -> Tensor:
        """Predict the weights (P,) of the task to which each known one is worth `gamma` (m,); all branches are live."""
        check(self.known, gamma)
        with torch.no_grad():
            found = self.net(self.encoders.transpose(0, 1), gamma, range(len(self.known.names)))
        return self.whole.back(found.mean(0))

    @property
    def remembered(self) -> float:
        """The squared error of known networks made from their own encoders: 0 is none, 1 what knowing nothing costs."""
        m, p, _ = self.known.weights.shape
        with torch.no_grad():
            made = [
                self.net(self.encoders.transpose(0, 1), self.known.gamma[:, k], live_branches(m, k, alone=True))
                for k in range(m)
            ]
        return float((torch.stack(made) - self.networks).square().sum() / (m * p))


def begin(known: Known, settings: Settings) -> Fitted:
    """Find the bases, and build a network that is not trained yet.

    Raises:
        ValueError: as in `check`.

    """
    check(known, known.gamma[:, 0])
    inside = known.weights[..., : known.split]
    encoders = principal(inside.flatten(0, 1), settings.components)
    whole = principal(known.weights.flatten(0, 1), settings.components)
    seed_torch("cpu", "ttnet", settings.seed)
    net = TTNet(len(known.names), len(encoders.axes), len(whole.axes), settings.hidden).to(known.weights.dtype)
    return Fitted(net, whole, known, encoders.into(inside), whole.into(known.weights))


def fit(known: Known, settings: Settings, consistency: Consistency | None = None) -> Fitted:
    """Train on all known tasks, each in turn the wanted one, in both modes.

    Raises:
        ValueError: as in `check`; a weight for the loss of predicted networks without such a loss.
        FloatingPointError: the loss is no number.

    """
    needs = consistency is not None or settings.consistency == 0
    require(needs, "TTNet", f"consistency={settings.consistency}", "give the tasks' loss, or 0")
    fitted, generator = begin(known, settings), rng("cpu", "ttnet", "steps", settings.seed)
    optimizer = torch.optim.Adam(fitted.net.parameters(), settings.rate, foreach=True)
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.rate * (1 - step / settings.steps)
        task = int(torch.randint(len(known.names), (), generator=generator))
        alone = bool(torch.rand((), generator=generator) < 0.5)
        loss = loss_of(fitted, task, alone, step, generator, settings.consistency, consistency)
        if not loss.isfinite():
            raise FloatingPointError(f"TTNet: the loss is {loss.item()} in step {step}; train at a smaller rate")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return fitted


def live_branches(tasks: int, wanted: int, alone: bool) -> list[int]:
    """Tell who is fed: the wanted task itself (self mode), or all others (transfer mode)."""
    return [wanted] if alone else [k for k in range(tasks) if k != wanted]


def loss_of(
    fitted: Fitted,
    task: int,
    alone: bool,
    step: int,
    generator: Generator,
    weight: float = 0.0,
    consistency: Consistency | None = None,
) -> Tensor:
    """Compare what is predicted of a known task with its models, each from a drawn model of each source.

    The squared error of weights is divided by that of the mean of all networks, so that 1 is what knowing nothing
    costs. Added is `weight` times the loss of the first network that was predicted.

    """
    known = fitted.known
    m, p, _ = known.weights.shape
    drawn = torch.randint(p, (m, p), generator=generator)
    drawn[task] = torch.arange(p)  # in self mode a network is made from its own encoder
    chosen = torch.stack([fitted.encoders[k, drawn[k]] for k in range(m)], dim=1)
    predicted = fitted.net(chosen, known.gamma[:, task], live_branches(m, task, alone))
    loss: Tensor = (predicted - fitted.networks[task]).square().sum(1).mean()
    if weight and consistency is not None:
        loss = loss + weight * consistency(known.names[task], fitted.whole.back(predicted[step % p]), step)
    return loss
