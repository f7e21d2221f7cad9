"""The weights of the epoch that did best on validation items."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pretext.supervised.module import fits
from pretext.training.host import Host


class Best(NamedTuple):
    """The best epoch so far."""

    score: float
    """On the validation items."""
    epoch: int
    weights: dict[str, Tensor]
    """All of the module's, on the CPU."""


class BestWeights:
    """Keeps the weights of the best epoch of a module, also through its checkpoints.

    Args:
        keep: keep any; else the last ones count.

    """

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.best: Best | None = None

    def consider(self, module: Host, score: float) -> bool:
        """Keep the weights if no epoch of training was as good; tell whether they are kept."""
        if not (self.keep and fits(module)) or (self.best is not None and score <= self.best.score):
            return False
        weights = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
        self.best = Best(score, module.current_epoch, weights)
        return True

    def take(self, module: Host) -> None:
        """Give a module the weights that were kept, if any, once training is over."""
        if self.best is not None:  # by now the last weights are in the checkpoint, from which a run goes on
            module.load_state_dict(self.best.weights)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Put what is kept into a checkpoint."""
        checkpoint["best"] = None if self.best is None else self.best._asdict()

    def load(self, module: Host, checkpoint: dict[str, Any]) -> None:
        """Take it out again; who does not train goes on with the weights that were kept."""
        self.best = None if checkpoint["best"] is None else Best(**checkpoint["best"])
        if self.best is not None and not fits(module):
            checkpoint["state_dict"] = self.best.weights
