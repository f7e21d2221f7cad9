"""Which precision a trainer really uses: bfloat16 where the processor has it."""

from __future__ import annotations

import sys

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.plugins.precision import MixedPrecision, Precision


def quick_precision(trainer: pl.Trainer, aloud: bool = True) -> pl.Trainer:
    """Let a trainer compute in float32 where `bf16-mixed` is asked of a CPU without bfloat16, and say so if `aloud`.

    There a step in bfloat16 takes about thirty times as long. Weights are float32 in both, so that a run can go on
    on another machine in the other. `bf16-true`, whose weights are not, stays.
    """
    mixed = type(trainer.strategy.precision_plugin) is MixedPrecision and trainer.precision == "bf16-mixed"
    if mixed and isinstance(trainer.accelerator, CPUAccelerator) and not cpu_has_bfloat16():
        trainer.strategy.precision_plugin = Precision()
        if aloud and trainer.is_global_zero:
            print("precision 32-true instead of bf16-mixed: this CPU has no fast bfloat16", file=sys.stderr)
    return trainer


def cpu_has_bfloat16() -> bool:
    """Tell whether convolutions in bfloat16 are faster than emulation; without oneDNN they never are."""
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
