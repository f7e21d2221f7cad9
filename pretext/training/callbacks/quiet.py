"""Doing something beside training that training never notices."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Put the global generators (of Python, NumPy, torch on the CPU and on `device`) back as they were.

    Compiled networks run as they were written meanwhile: at batches of another size torch would compile them anew for
    batches of any size, and training would go on with other kernels, which round otherwise.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (what others draw from, not what we do)
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
