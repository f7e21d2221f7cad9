"""Whether training shall stop between two steps: a person pressed Ctrl-C, or the machine is taken away."""

from __future__ import annotations

import signal
import sys
import threading
from math import isfinite
from typing import Any, NoReturn

import pytorch_lightning as pl

from pretext.core.stop import STOP
from pretext.training.agreement import Agreement

TIMED = 1
"""What is said where it is time for a checkpoint: the number of SIGHUP, which is not listened to."""


class Interruption:
    """Listens while a trainer trains. `asked` gives the same answer on all ranks.

    A second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self.signal = 0
        """The number of the signal that all ranks agreed to stop for."""
        self.timed = False
        """Whether in the last round a rank said that it is time for a checkpoint."""
        self._pressed = False
        self._before: Any = None
        self._agreement: Agreement | None = None

    def begin(self, trainer: pl.Trainer) -> None:
        """Hold back signals from here on: there will be something to save."""
        STOP.held = True
        if threading.current_thread() is threading.main_thread():  # the only one that may catch signals
            self._before = signal.signal(signal.SIGINT, self._press)
        if trainer.world_size > 1:
            self._agreement = Agreement()

    def asked(self, trainer: pl.Trainer, timed: bool = False) -> int:
        """Return the number of the signal to stop for, or 0; all ranks must ask as often as the others.

        `timed`: by this rank's clock it is time for a checkpoint.
        """
        said = STOP.signal or (signal.SIGINT if self._pressed else TIMED if timed else 0)
        heard = self._agreement.heard(said) if self._agreement else said
        self.timed = heard == TIMED
        self.signal = self.signal or (0 if self.timed else heard)
        if self.signal:
            # Ranks that Lightning started: whoever watches them would kill this process when the first of them leaves.
            getattr(trainer.strategy.launcher, "procs", []).clear()
        return self.signal

    def rounds(self, batches: float) -> float:
        """Return after how many of this rank's validation batches it may ask: as many as every rank has."""
        return self._agreement.least(int(batches) if isfinite(batches) else 0) if self._agreement else batches

    def leave(self, trainer: pl.Trainer) -> NoReturn:
        """Leave training, which has been saved.

        Raises:
            KeyboardInterrupt: at Ctrl-C.
            SystemExit: at a signal, with 128 + its number.

        """
        if trainer.is_global_zero:
            what = "interrupted" if self.signal == signal.SIGINT else signal.Signals(self.signal).name
            run, step = trainer.default_root_dir, trainer.global_step
            verb = getattr(trainer.lightning_module, "verb", "fit")
            print(f"{what} at step {step}; continue: pretext {verb} {run}", file=sys.stderr)
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signal)

    def end(self, in_order: bool) -> None:
        """Let signals through again; after an error, when `in_order` is false, without a word to the other ranks."""
        STOP.held = False
        if self._agreement is not None and in_order:
            self._agreement.close()
        self._agreement = None
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _press(self, *signal_and_frame: Any) -> None:
        if self._pressed:
            raise KeyboardInterrupt
        self._pressed = True


def alone_with_signals(trainer: pl.Trainer) -> pl.Trainer:
    """Keep Lightning from catching signals and from asking all ranks about them, which `Checkpoint` does.

    Lightning's handlers would leave without a checkpoint, put a SLURM job back themselves, and speak to other ranks
    from inside a handler; and in each step of several ranks it waits for the device to ask whether one was terminated.
    """
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
    return trainer


def _nothing() -> None:
    pass
