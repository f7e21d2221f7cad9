"""The trainer of one job of a search: it leaves nothing but its figures, and nothing stops it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import ArgumentParser

from pretext.core.quiet import hush
from pretext.training.callbacks import Divergence
from pretext.training.overhead import lightened
from pretext.training.precision import quick_precision

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "callbacks": [],
    "max_epochs": -1,
    "max_time": None,
}
"""Options of Lightning's trainer: a job leaves nothing but its figures, and nothing stops it."""
ALONE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
"""A worker has one device, or Lightning would start it again for each; of several devices each gets its own worker."""


def quiet_trainer(options: Mapping[str, Any], steps: int, folder: Path) -> pl.Trainer:
    """Make a trainer for so many steps from a config's options, without its callbacks and loggers, on one device.

    It stops with a FloatingPointError where the loss is not finite. `folder` is where Lightning may write.
    """
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_class_arguments(pl.Trainer, "trainer", fail_untyped=False)
    given = {"log_every_n_steps": 1, **options, **QUIET, "max_steps": steps}
    one = isinstance(given.get("devices"), list) and len(given["devices"]) == 1  # which one, the user says
    given |= {"default_root_dir": str(folder), **({} if one else ALONE)}
    with warnings.catch_warnings():
        # Of a GPU that is there and not used, as the config may well want it.
        warnings.filterwarnings("ignore", "GPU available but not used", UserWarning)
        hush()
        trainer: pl.Trainer = parser.instantiate(parser.parse_object({"trainer": given})).trainer
    trainer.callbacks.append(Divergence())  # type: ignore[attr-defined]  # Lightning sets it outside the class
    return lightened(quick_precision(trainer, aloud=False))  # each of many jobs would say it
