"""How well a network does across domains, from what may be known: labels of the source, and none of the target."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pretext.evaluation.supervision import Scored, Tally
from pretext.nn.self_information import Telling, Told
from pretext.supervised.best_weights import BestWeights
from pretext.training.host import Host

RULE = "source validation (accuracy, or mean IoU) and information in target predictions; no label of the target"
"""By what weights are chosen, as results say it.

Little entropy alone would choose networks that name one class for all: they are sure, too.
"""


class Chosen(NamedTuple):
    """What a choice goes by, on items held out of both training sets."""

    accuracy: float
    """Of the source."""
    target: Told
    """Of predictions on the target; nothing where no item is held out."""

    @property
    def score(self) -> float:
        """What is to be high: both are in [0, 1], so they count alike."""
        return self.accuracy + self.target.information


class Choice:
    """Keeps the weights of the epoch that is best by `RULE`.

    Args:
        keep: keep any; else the last ones count.

    """

    def __init__(self, keep: bool) -> None:
        self.kept = BestWeights(keep)
        self.known: dict[str, float] = {}
        """What the choice went by: "validation", "entropy" and "diversity", and the "epoch"."""

    def consider(self, module: Host, chosen: Chosen) -> None:
        """Log an epoch's validation, and keep the weights if none was better."""
        told = chosen.target._asdict()
        module.log_dict({**{f"val/{name}": x for name, x in told.items()}, "val/score": chosen.score}, sync_dist=True)
        if self.kept.consider(module, chosen.score):
            self.known = {"validation": chosen.accuracy, **told, "epoch": module.current_epoch}

    def take(self, module: Host) -> None:
        """Give a module the weights that were kept, if any, once training is over."""
        self.kept.take(module)

    def said(self) -> dict[str, Any]:
        """Say by what was chosen, for a result."""
        return {"selected": RULE if self.kept.best else "none: the last epoch", **self.known}

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Put what is kept into a checkpoint."""
        self.kept.save(checkpoint)
        checkpoint["known"] = dict(self.known)

    def load(self, module: Host, checkpoint: dict[str, Any]) -> None:
        """Take it out again; who does not train goes on with the weights that were kept."""
        self.kept.load(module, checkpoint)
        self.known = dict(checkpoint["known"])


class Tallies:
    """Tallies a split of both domains, batch by batch."""

    def __init__(self) -> None:
        self._of: dict[str, Tally] = {}
        self._telling = Telling()

    def add(self, logits: Tensor, batch: dict[str, Any], batch_idx: int) -> None:
        """Note the logits (N, K) of a batch of one domain; a split begins with batch 0."""
        if batch_idx == 0:
            self._of, self._telling = {}, Telling()
        counts = not batch.get("spare")
        if "y" in batch:
            self._of.setdefault(batch["domain"], Tally()).add(logits, batch["y"], counts)
        if batch["domain"] == "target" and counts:
            self._telling.add(logits)

    def chosen(self) -> Chosen | None:
        """Sum up a validation; None where no source item is held out."""
        if "source" not in self._of:
            return None
        return Chosen(self._of["source"].scored().value, self._telling.told())

    def scored(self, domain: str) -> Scored | None:
        """Score one domain's test items; None where it has no labels."""
        return self._of[domain].scored() if domain in self._of else None

    def chance(self, counts: Tensor) -> float:
        """Return what naming the commonest class of training scores on the target; `counts` (K,) are of the source."""
        return self._of["target"].chance(counts)
