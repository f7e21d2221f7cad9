"""Scores of several classifiers over a split: tallied batch by batch, logged, and written to the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from pretext.core.files import write_json
from pretext.evaluation.supervision import Scored, Tally, by_index

FILE = "score.json"
MEASURES = ("accuracy", "map", "miou", "r2")
"""What a test may be of, each a share."""
Logits = dict[str, Tensor]
"""Of each classifier, by its name in logs, (N, K)."""


class Scores:
    """Tallies what classifiers say of the items of one split after the other."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}

    def add(self, logits: Logits, batch: dict[str, Any], batch_idx: int) -> None:
        """Note the logits of a batch; a split begins with batch 0. Rows that share their index are averaged."""
        if batch_idx == 0:
            self._tallies = {}
        for name, rows in logits.items():
            tally = self._tallies.setdefault(name, Tally())
            tally.add(*by_index(rows, batch["y"], batch["index"]), counts=not batch.get("spare"))

    def validated(self, module: pl.LightningModule) -> dict[str, Scored]:
        """Score and log the validation items; there is no score where there are none, or Lightning tries itself out."""
        tallies, self._tallies = self._tallies, {}
        if not tallies or module.trainer.sanity_checking:
            return {}
        scores = {name: tally.value() for name, tally in tallies.items()}
        # Every rank has the score of all items; `sync_dist` says to Lightning that ranks were thought of.
        values = {key("val", name, scored.measure): scored.value for name, scored in scores.items()}
        module.log_dict(values, sync_dist=True)
        best = max(scored.value for scored in scores.values())
        module.log("val/score", best, sync_dist=True)  # whatever it measures, for early stopping
        return scores

    def so_far(self) -> dict[str, float]:
        """Score what was noted, without a word in logs."""
        return {name: tally.value().value for name, tally in self._tallies.items()}

    def tested(self, module: pl.LightningModule) -> dict[str, Scored]:
        """Score and log the test items."""
        scores = {name: tally.scored() for name, tally in self._tallies.items()}
        values = {key("test", name, scored.measure): scored.value for name, scored in scores.items()}
        module.log_dict(values, sync_dist=True)
        return scores

    def facts(self, scores: dict[str, Scored], counts: Tensor) -> dict[str, Any]:
        """Say of how many items the test's `scores` are, and what is reached without looking: {"items", "chance"}.

        `counts` (K,): how often each class was present in training.
        """
        first = next(iter(scores))
        return {"items": scores[first].items, "chance": self._tallies[first].chance(counts)}


def key(split: str, name: str, what: str) -> str:
    """Name a figure in logs; a classifier that is the only one has no name."""
    return "/".join(part for part in (split, name, what) if part)


def write(result: dict[str, Any], trainer: pl.Trainer) -> None:
    """Write a test's result to `score.json` of the run, once for all processes; a trial run leaves nothing behind."""
    if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside the class
        write_json(Path(trainer.default_root_dir) / FILE, result)
