"""What a training step measured: kept on the device, fetched in one transfer when loggers write."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

SHOWN = ("train/loss", "items/s")  # by a progress bar
PAUSE = 1.0  # seconds between two times that loggers write their files; a checkpoint and the end do not wait for it


class Figures:
    """The figures of the last training step, and what writes them.

    Lightning's `log` looks through all that was logged before, for every name in every step, and fetches what a
    progress bar shows, for which the device has to finish its work. Here a step's values are joined to one vector that
    stays on the device. `trainer.callback_metrics` and `logged_metrics` hold its entries after every step. Loggers get
    them in the steps in which Lightning writes (every `log_every_n_steps`, and where training is stopped), with the
    same names, steps and digits, and a progress bar is refreshed then.
    """

    def __init__(self) -> None:
        self.vector: Tensor | None = None  # (K,), of the last step
        self.names: list[str] = []  # of its entries
        self.fetched: dict[str, float] = {}  # the figures that were fetched last
        self.fetched_at = -1  # after so many steps
        self._numbers: dict[str, Tensor] = {}  # each (), on the CPU
        self._begun = self._written = -1
        self._saved = 0.0

    def begin(self, trainer: pl.Trainer) -> None:
        """Note after how many steps a batch begins: one whose gradients are only accumulated takes none."""
        self._begun = trainer.global_step

    def keep(self, trainer: pl.Trainer, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep what a step measured, each (): return copies, without gradient."""
        self.names = list(values)
        self.vector = torch.stack([_single(value.detach()) for value in values.values()])
        self.fetched_at = -1
        kept = dict(zip(self.names, self.vector.unbind(), strict=True))
        _tell(trainer, kept)
        return kept

    def add(self, trainer: pl.Trainer, name: str, number: float) -> None:
        """Keep a number that the host knows, such as the learning rate."""
        self._numbers[name] = torch.tensor(number, dtype=torch.float32)  # as Lightning rounds what it is given
        self.fetched_at = -1
        _tell(trainer, {name: self._numbers[name]})

    def fetch(self, trainer: pl.Trainer) -> dict[str, float]:
        """Return all figures as numbers, and let the progress bar show them; the device finishes its work first."""
        if self.fetched_at != trainer.global_step:
            values = [] if self.vector is None else self.vector.tolist()
            numbers = {name: number.item() for name, number in self._numbers.items()}
            self.fetched = dict(zip(self.names, values, strict=True)) | numbers
            self.fetched_at = trainer.global_step
            trainer.progress_bar_metrics.update({k: self.fetched[k] for k in SHOWN if k in self.fetched})
        return self.fetched

    def write(self, trainer: pl.Trainer) -> None:
        """Hand the figures to the loggers, if the batch that ends took a step in which Lightning writes."""
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]  # set in Trainer
        due = every > 0 and (step % every == 0 or trainer.should_stop)
        if not due or step in (self._begun, self._written) or not (self.names or self._numbers):
            return
        figures = {**self.fetch(trainer), "epoch": trainer.current_epoch}
        self._written, now = step, time.monotonic()
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step - 1)
            if now - self._saved >= PAUSE:
                logger.save()
        self._saved = now if now - self._saved >= PAUSE else self._saved


def _single(value: Tensor) -> Tensor:
    """Bring a value to float32, unless it is finer; half precision and whole numbers are exact there."""
    return value if value.dtype == torch.float64 else value.float()


def _tell(trainer: pl.Trainer, figures: Mapping[str, Tensor]) -> None:
    """Let other callbacks see the figures of this step, as if Lightning had logged them."""
    shown = trainer._logger_connector  # not by the trainer's properties, which go through all that was logged before
    shown._callback_metrics.update(figures)
    shown._logged_metrics.update(figures)
