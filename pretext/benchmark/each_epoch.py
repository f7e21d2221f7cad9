"""The test accuracy after each epoch: what keeping the best test epoch would have reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytorch_lightning as pl
import torch

from pretext.core.errors import require
from pretext.core.files import write_json
from pretext.evaluation.embed import evaluating
from pretext.supervised.module import Supervised, eval_logits
from pretext.supervised.scores import Scores
from pretext.training.batches import lawful
from pretext.training.callbacks.quiet import undisturbed

FILE = "each_epoch.json"


class EachEpoch(pl.Callback):
    """Score every classifier on the test items after each epoch, into `each_epoch.json` of the run.

    Some authors report the best of these. Nothing is chosen by them here: training is bit-identical with and without.
    The file has, of each classifier by its name, a share for each epoch.

    Raises:
        ValueError: at the start of training, a module that is no evaluator.

    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        got = type(pl_module).__name__
        require(isinstance(pl_module, Supervised), self, f"a {got}", "put it beside LinearProbe or FineTune")

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Supervised)
        scores, data = Scores(), trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it outside the class
        with undisturbed(pl_module.device), evaluating(pl_module):
            for number, batch in enumerate(data.test_dataloader()):
                moved = lawful(pl_module.transfer_batch_to_device(batch, pl_module.device, 0))
                scores.add(eval_logits(pl_module, moved), moved, number)
        if trainer.is_global_zero:
            _note(Path(trainer.default_root_dir) / FILE, trainer.current_epoch, scores.so_far())


def best_of(run: Path) -> dict[str, float]:
    """Return each classifier's best test score of all epochs, where these were noted."""
    file = run / FILE
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {name: max(values) for name, values in known.items()}


def _note(file: Path, epoch: int, values: dict[str, float]) -> None:
    """Add an epoch to the file; a run that goes on does again what came after its checkpoint."""
    known = json.loads(file.read_text(encoding="utf-8")) if epoch and file.is_file() else {}
    write_json(file, {name: [*known.get(name, [])[:epoch], value] for name, value in values.items()})
