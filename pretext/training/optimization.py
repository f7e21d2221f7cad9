"""How parameters are optimised: the optimiser, and the schedule of its learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pretext.core.errors import described, require
from pretext.nn.gradient_reversal import annealed

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
"""Builds the optimiser from parameters, or from groups of them."""
Schedule = Literal["cosine", "constant", "steps", "annealed"]
Groups = Sequence[dict[str, Any]]
"""Of parameters: each a dict of "params" and of options that differ from the optimiser's own, such as "lr"."""


@dataclass(frozen=True)
class Optim:
    """The options of optimisation.

    Args:
        optimizer: builds the optimiser from the parameters (a class and its other arguments).
        schedule: of the learning rate after the warm-up: half a cosine down to 0, constant, multiplied by `factor` at
            each of the `milestones`, or "annealed" as DANN's, (1 + 10 p)^-0.75 at the share p of the steps.
        warmup: share of all steps in which the learning rate grows linearly to its full value.
        milestones: for "steps", shares of all steps in ascending order: [0.3, 0.6, 0.8] of 200 epochs are the epochs
            60, 120 and 160.
        factor: for "steps".

    Raises:
        ValueError: an optimiser that is built already; a warm-up outside [0, 1]; milestones without their schedule or
            the other way round, out of order or outside (0, 1); a factor that is not positive.

    """

    optimizer: OptimizerFactory = AdamW
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    milestones: tuple[float, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        wanted = "give a class, or functools.partial(torch.optim.Adam, lr=1e-3)"
        require(callable(self.optimizer), self, f"optimizer is {described(self.optimizer)}", wanted)
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"Optim: warmup is a share of all steps in [0, 1], got {self.warmup}")
        if bool(self.milestones) != (self.schedule == "steps"):
            raise ValueError(
                f"Optim: schedule {self.schedule!r} with milestones {list(self.milestones)}; milestones and "
                "schedule: steps go together"
            )
        edges = (0.0, *self.milestones, 1.0)
        if any(a >= b for a, b in pairwise(edges)) or self.factor <= 0:
            raise ValueError(
                f"Optim: milestones {list(self.milestones)}, factor {self.factor}; give shares of all steps between 0 "
                "and 1 in ascending order, and a positive factor"
            )


ADAMW = Optim()


class LearningRates:
    """Builds an optimiser and sets the learning rate of each of its groups before every step."""

    def __init__(self, optim: Optim) -> None:
        self.optim = optim
        self._options: list[dict[str, Any]] = []  # of each group, as the config has them
        self._steps = math.inf

    def optimizer(self, groups: Groups) -> Optimizer:
        """Build the optimiser."""
        optimizer = self.optim.optimizer(groups)
        fuse(optimizer)
        self._options = [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
        return optimizer

    def progress(self, step: int) -> float:
        """Return the share of all steps that is done at `step`; NaN where the end is not known."""
        return step / self._steps if math.isfinite(self._steps) else math.nan

    def begin(self, optimizer: Optimizer, steps: float) -> None:
        """Give every group the config's options, of which a resumed checkpoint may say otherwise.

        `steps`: how many there will be in all.
        """
        self._steps = steps
        for group, options in zip(optimizer.param_groups, self._options, strict=True):
            group.update(options)
            if group.get("fused"):  # a fused optimiser counts steps on the device, others on the CPU
                for p in group["params"]:
                    if "step" in (state := optimizer.state.get(p, {})):
                        state["step"] = state["step"].to(p.device)

    def set(self, optimizer: Optimizer, step: int) -> None:
        """Set the learning rates for a step."""
        factor = learning_rate(step, self._steps, self.optim)
        for group, options in zip(optimizer.param_groups, self._options, strict=True):
            group["lr"] = options["lr"] * factor


def fuse(optimizer: Optimizer, device: str = "cuda") -> None:
    """Let torch's own SGD, Adam and AdamW update all parameters in one kernel, where these lie on that kind of device.

    It rounds otherwise than the usual way, by an eps or so. Who sets `fused`, `foreach` or `capturable` has decided.
    """
    if type(optimizer) not in (SGD, Adam, AdamW):
        return
    for group in optimizer.param_groups:
        undecided = group.get("fused") is None and group.get("foreach") is None
        plain = not (group.get("capturable") or group.get("differentiable"))
        there = all(p.device.type == device and p.is_floating_point() for p in group["params"])
        if undecided and plain and there:
            group["fused"] = True


def trained(module: nn.Module) -> Groups:
    """Return one group of all parameters that are trained."""
    return [{"params": [p for p in module.parameters() if p.requires_grad]}]


def learning_rate(step: int, total: float, optim: Optim) -> float:
    """Scale the learning rate at `step` of `total`: a pure function, so that a resumed run needs no scheduler's state.

    Linear over the share `optim.warmup` of all steps, then as `optim.schedule` says; a cosine ends with 0 at step
    `total`. Where the end is not known (`total` infinite) the rate stays as it is.
    """
    if not math.isfinite(total):
        return 1.0
    grown = math.ceil(optim.warmup * total)
    if step < grown:
        return (step + 1) / (grown + 1)
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "annealed":
        return annealed((step - grown) / max(1, total - grown))
    if optim.schedule == "steps":
        return optim.factor ** sum(step >= round(share * total) for share in optim.milestones)
    return 0.5 * (1 + math.cos(math.pi * (step - grown) / max(1, total - grown)))
