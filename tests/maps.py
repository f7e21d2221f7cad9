"""Made-up losses of three sources, two of them twins, on four targets."""

import numpy as np

from pretext.transfer.analysis import analyse
from pretext.transfer.results import Measured

TARGETS = ["depth", "normals", "classes", "<edges>"]
GOOD = {
    "twin": (2, 2, 0, 0),
    "other twin": (2, 1.9, 0, 0),
    "maker": (0, 0, 2, 1),
    "random": (-1, -1, -1, -1),
    "self": (2.5,) * 4,
}


def measured(hidden=(), failed=()):
    """Losses that lie the lower the better a source is."""
    draw = np.random.default_rng(0)
    found = []
    for source, worth in GOOD.items():
        for target, value in zip(TARGETS, worth, strict=True):
            losses = draw.normal(size=(2, 80)) - 0.5 * value
            if (source, target) in failed:
                found.append(Measured((source,), target, failed="ValueError: no"))
            elif (source, target) not in hidden:
                found.append(Measured((source,), target, tuple(map(tuple, losses.tolist()))))
    return found


def the_map(**options):
    return analyse("Map", ["twin", "other twin", "maker"], TARGETS, measured(**options), 20)
