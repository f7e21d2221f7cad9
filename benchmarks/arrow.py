"""What tells the direction of time in recordings that were cut to one sound? Their ends, it turns out.

Words are cut out of television speech where it grows quiet (at 15 % of a clip's loudness), as recordings of words
are. A linear read-out of nothing but loudness and zero crossings, over 16 parts of each, then says which way a word
runs: by five folds, of the whole words and of what `ArrowOfTime(trim=...)` leaves of them.

    python benchmarks/arrow.py --root DATA       # DATA holds lrwar/; seconds of one core
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pretext.core.rng import rng
from pretext.evaluation.statistics.intervals import wilson
from pretext.training.run import build_data

RATE, BLOCK, QUIET, SHORTEST, LONGEST = 16_000, 160, 0.15, 20, 70  # lengths in blocks of 10 ms
SPLITS, HERE = ("train", "test"), Path(__file__).parent
PARTS, RIDGE, FOLDS = 16, 10.0, 5
Sound = NDArray[np.float64]


def words(sound: Sound) -> list[Sound]:
    """Cut a recording where it grows quiet."""
    blocks = sound[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK)
    loud = np.convolve(np.sqrt((blocks**2).mean(1)), np.ones(5) / 5, "same")
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud > QUIET * loud.max(), [0]))))
    spans = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if SHORTEST <= b - a <= LONGEST]
    return [sound[(a - 2) * BLOCK : (b + 2) * BLOCK] for a, b in spans if a > 3 and b < len(loud) - 3]


def trivial(sound: Sound) -> Sound:
    """Measure loudness and zero crossings over the parts of a sound."""
    parts = np.array_split(sound, PARTS)
    loud = np.array([np.log(np.sqrt((part**2).mean() + 1e-12)) for part in parts])
    crossings = np.array([(np.diff(np.sign(part)) != 0).mean() for part in parts])
    return np.concatenate((loud - loud.mean(), crossings - crossings.mean()))


def told(sounds: list[Sound]) -> float:
    """Say how many directions the read-out tells: it is fitted to what differs between a sound and its reverse."""
    apart = np.array([trivial(sound) - trivial(sound[::-1]) for sound in sounds])
    order = torch.randperm(len(apart), generator=rng("cpu", "folds")).numpy()
    right = 0
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        train = apart[np.setdiff1d(order, test)]
        weights = np.linalg.solve(train.T @ train + RIDGE * np.eye(train.shape[1]), train.sum(0))
        right += int((apart[test] @ weights > 0).sum())
    return right / len(apart)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    options = {"data": HERE.parent / "configs" / "data" / "lrwar.yaml", "data.root": parser.parse_args().root / "lrwar"}
    options |= {"data.modalities": "audio", "data.windows.fps": 25, "data.windows.frames": 28, "data.sampling.clips": 1}
    data = build_data([f"--{option}={value}" for option, value in options.items()])
    data.prepare_data()
    batches = [batch["x"] for split in SPLITS for batch in data.ordered(split)]  # type: ignore[attr-defined]  # of our data modules, unknown to Lightning
    recordings = torch.cat(batches)[:, 0].double().numpy() / 32768
    found = [word for recording in recordings for word in words(recording)]
    print(f"{len(found)} words", "| left out at either end | told, % |", "|---|---|", sep="\n")
    for share in (0.0, 0.05, 0.1, 0.2, 0.3):
        kept = [word[int(share * len(word)) : len(word) - int(share * len(word))] for word in found]
        score = told(kept)
        low, high = wilson(round(score * len(kept)), len(kept))
        print(f"| {100 * share:.0f} % | {100 * score:.1f} ({100 * low:.1f}-{100 * high:.1f}) |")


if __name__ == "__main__":
    main()
