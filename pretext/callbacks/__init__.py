"""The callbacks under the names that configs give them, such as `pretext.callbacks.Online`."""

from pretext.training.callbacks import (
    AtomicCheckpointIO,
    Checkpoint,
    Divergence,
    History,
    Online,
    Predictions,
    Progress,
    Record,
    Stagnation,
    Throughput,
)

__all__ = [
    "AtomicCheckpointIO",
    "Checkpoint",
    "Divergence",
    "History",
    "Online",
    "Predictions",
    "Progress",
    "Record",
    "Stagnation",
    "Throughput",
]
