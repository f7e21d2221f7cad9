"""From pieces of decoded sound to one mono wave without gaps, at another rate."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

Samples = NDArray[np.int16]
"""Mono sound."""

Piece = tuple[float, NDArray[Any]]
"""What a decoder gave: the time of its first sample, and its samples, (C, L)."""
Run = tuple[int, NDArray[np.float32]]
"""Sound without gaps: the number of its first sample, and its samples, mono."""

GAP = 0.01  # seconds by which a stamp may differ from the count of samples: containers round stamps to milliseconds
_RANGE = {("u", 1): (128, 2.0**7), ("i", 2): (0, 2.0**15), ("i", 4): (0, 2.0**31), ("f", 4): (0, 1), ("f", 8): (0, 1)}
"""Of what kind and size samples are: which number is silence, and which the loudest."""


def by_channel(frame: av.AudioFrame) -> NDArray[Any]:
    """Take a frame's samples out, (C, L)."""
    wave: NDArray[Any] = frame.to_ndarray()
    return wave if frame.format.is_planar else wave.reshape(-1, len(frame.layout.channels)).T


def runs_of(pieces: list[Piece], rate: int) -> list[Run]:
    """Put pieces without a gap between them together."""
    groups: list[list[Piece]] = []
    due = -inf
    for time, wave in pieces:
        if not groups or abs(time - due) > GAP or len(wave) != len(groups[-1][-1][1]):
            groups.append([])
            due = time
        groups[-1].append((time, wave))
        due += wave.shape[1] / rate
    return [(_first(group, rate), _mono(np.concatenate([wave for _, wave in group], 1))) for group in groups]


def _first(group: list[Piece], rate: int) -> int:
    """Number the first sample of pieces, by the middle of what all of their stamps say, which are rounded each."""
    before = np.cumsum([0] + [wave.shape[1] for _, wave in group[:-1]])
    told = np.array([time for time, _ in group]) * rate - before
    return round(float(told.min() + told.max()) / 2)


def _mono(wave: NDArray[Any]) -> NDArray[np.float32]:
    """Average the channels of (C, L), of integers or floats, in [-1, 1]."""
    zero, full = _RANGE[wave.dtype.kind, wave.dtype.itemsize]
    mean: NDArray[np.float32] = wave.mean(0, dtype=np.float32)
    return (mean - np.float32(zero)) / np.float32(full)


def lay(runs: list[Run], first: int, count: int) -> NDArray[np.float32]:
    """Lay runs out on a stretch of silence that begins with sample `first`."""
    wave = np.zeros(count, np.float32)
    for start, run in runs:
        begin, end = max(start, first), min(start + len(run), first + count)
        if begin < end:
            wave[begin - first : end - first] = run[begin - start : end - start]
    return wave


def resample(wave: NDArray[np.float32], native: int, rate: int, skip: int, count: int) -> Samples:
    """Resample, then cut out `count` samples after the first `skip`."""
    frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = native, 0, Fraction(1, native)
    graph = Graph()
    graph.threads = 1  # which is all that av.AudioResampler lacks: it starts threads for each piece of sound
    source = graph.add_abuffer(sample_rate=native, format="fltp", layout="mono", time_base=frame.time_base)
    resampler, sink = graph.add("aresample", f"{rate}:osf=s16"), graph.add("abuffersink")
    source.link_to(resampler)
    resampler.link_to(sink)
    graph.configure()
    samples = np.zeros(skip + count, np.int16)
    done = 0
    for given in (frame, None):
        graph.push(given)
        while (piece := _pull(graph)) is not None and done < len(samples):
            part = piece[: len(samples) - done]
            samples[done : done + len(part)] = part
            done += len(part)
    return samples[skip:]


def _pull(graph: Graph) -> Samples | None:
    try:
        samples: Samples = graph.pull().to_ndarray()[0]
        return samples
    except (av.error.BlockingIOError, av.error.EOFError):  # all is given that could be
        return None
