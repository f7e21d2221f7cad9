"""A trainer of Lightning's, made ours: its signals, its precision, and what it costs."""

from __future__ import annotations

import pytorch_lightning as pl

from pretext.training.interruption import alone_with_signals
from pretext.training.overhead import lightened
from pretext.training.precision import quick_precision


def prepared(trainer: pl.Trainer) -> pl.Trainer:
    """Prepare a trainer that makes a run."""
    return lightened(quick_precision(alone_with_signals(trainer)))
