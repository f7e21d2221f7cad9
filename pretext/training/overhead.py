"""What Lightning and torch do in every step without need: left out, since the step shall not wait for Python."""

from __future__ import annotations

import os
from contextlib import ContextDecorator

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler

NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Lightning sets it to 1, so that asking whether there is CUDA leaves a process that may fork."""


HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""What Lightning calls in every step, of every callback."""


class _Nothing(ContextDecorator):
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class Unwatched(PassThroughProfiler):
    """Watch nothing, and cheaply: Lightning enters a context of its profiler's seventy times a step."""

    nothing = _Nothing()

    def profile(self, action_name: str) -> ContextDecorator:  # type: ignore[override]  # Lightning's makes a generator
        return self.nothing


def lightened(trainer: pl.Trainer) -> pl.Trainer:
    """Take what is not needed off a trainer: a profiler that nobody asked for, idle hooks, the search for a driver.

    Where there is no CUDA, AdamW would look for NVIDIA's library on the disk in every step (torch 2.14 with Lightning's
    setting), to learn whether a CUDA graph is being recorded.
    """
    if type(trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]  # Lightning sets it outside the class
        trainer.profiler = Unwatched()  # type: ignore[attr-defined]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        _idle(callback)
    if not torch.cuda.is_available():
        os.environ[NVML] = "0"
    return trainer


def _idle(callback: pl.Callback) -> None:
    """Let Lightning pass by the hooks of a step that a callback has not: it calls only what can be called."""
    for hook in HOOKS:
        if getattr(type(callback), hook) is getattr(pl.Callback, hook) and hook not in vars(callback):
            setattr(callback, hook, None)
