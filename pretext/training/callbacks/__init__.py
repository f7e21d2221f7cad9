"""What watches a run: checkpoints, progress, stagnation, the record of its circumstances, its history."""

from pretext.training.callbacks.checkpoint import AtomicCheckpointIO, Checkpoint
from pretext.training.callbacks.divergence import Divergence
from pretext.training.callbacks.history import Board, History
from pretext.training.callbacks.online import Online
from pretext.training.callbacks.predictions import Predictions
from pretext.training.callbacks.progress import Progress, Throughput
from pretext.training.callbacks.questions import Questions
from pretext.training.callbacks.record import Record
from pretext.training.callbacks.revalidation import Revalidation
from pretext.training.callbacks.stagnation import Stagnation

__all__ = [
    "AtomicCheckpointIO",
    "Board",
    "Checkpoint",
    "Divergence",
    "History",
    "Online",
    "Predictions",
    "Progress",
    "Questions",
    "Record",
    "Revalidation",
    "Stagnation",
    "Throughput",
]
