"""What Lightning and torch do in every step without need: left out, since the step shall not wait for Python."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler

NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Lightning sets it to 1, so that asking whether there is CUDA leaves a process that may fork."""
_NOTHING = nullcontext()


class Unwatched(PassThroughProfiler):
    """Watch nothing, at a sixth of the price: Lightning enters a context seventy times a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
        return _NOTHING


def lightened(trainer: pl.Trainer) -> pl.Trainer:
    """Take what is not needed off a trainer: a profiler that nobody asked for, and the search for a driver.

    Where there is no CUDA, AdamW would look for NVIDIA's library on the disk in every step (torch 2.14 with Lightning's
    setting), to learn whether a CUDA graph is being recorded.
    """
    if type(trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]  # Lightning sets it outside the class
        trainer.profiler = Unwatched()  # type: ignore[attr-defined]
    if not torch.cuda.is_available():
        os.environ[NVML] = "0"
    return trainer
