"""What libraries say that a user can do nothing about, or that we say ourselves: left out, for all verbs alike."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("pytorch_lightning", "lightning_fabric")
"""They tell of devices, advertise, and say "Seed set to 0"."""
ADVICE: dict[str, type[Warning]] = {
    # Lightning 2.6 asks torch's pytree in a way that torch 2.14 calls deprecated; a user can do nothing about it.
    ".isinstance.treespec, LeafSpec": FutureWarning,
    # An epoch that is shorter than ten steps is logged once, at its end.
    "The number of training batches .* is smaller than the logging interval": UserWarning,
    # Whether a loader of a user's own wants workers is theirs to know.
    "The '.*_dataloader' does not have many workers": UserWarning,
}


@contextmanager
def quiet() -> Iterator[None]:
    """Leave it out for a while; afterwards all is as it was."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        ignore_advice()
        hush()
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


def ignore_advice() -> None:
    """Leave warnings out, for the rest of the process."""
    for message, kind in ADVICE.items():
        warnings.filterwarnings("ignore", message, kind)


def hush() -> None:
    """Let loggers tell of what is wrong alone; Lightning must be imported before, which sets their levels."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
