"""Successive halving: a candidate that is less fit than others were after as many steps is given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from optuna import Trial, TrialPruned

from pretext.evaluation.fitness import Fit
from pretext.training.callbacks.quiet import undisturbed
from pretext.training.host import Host


class Halving(pl.Callback):
    """Judges a candidate after some numbers of steps, and gives it up as the study's pruner says.

    Training goes on as if nobody had looked.

    Args:
        steps: when it judges.
        judge: measures the fitness of what has been trained so far.
        trial: the candidate's.

    """

    def __init__(self, steps: Sequence[int], judge: Callable[[Host], Fit], trial: Trial) -> None:
        self.steps, self.judge, self.trial = list(steps), judge, trial

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        if trainer.global_step not in self.steps:
            return
        assert isinstance(pl_module, Host)
        self.steps.remove(trainer.global_step)  # several batches may make one step
        with undisturbed(pl_module.device):
            fit = self.judge(pl_module)
        self.trial.report(fit.value, trainer.global_step)
        self.trial.set_user_attr("steps", trainer.global_step)
        self.trial.set_user_attr("facts", fit.facts)
        if self.trial.should_prune():
            raise TrialPruned
