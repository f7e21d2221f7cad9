"""From a sound track to mono samples on an absolute grid: sample n is the sound at n / rate on the container's clock.

Sound is decoded in blocks of two seconds whose edges are fixed on that clock, each by a decoder that knows nothing of
what was decoded before. So a sample has the same value, bit for bit, whichever window it is read with: codecs that make
up noise (AAC, HE-AAC, Opus) would otherwise never repeat themselves after a seek.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from math import ceil, gcd, inf
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.media.clock import Clock, clock_of
from datamodules.media.containers import open_media, read_only, seek, tick_of, track_of
from datamodules.media.ogg import links
from datamodules.media.span import cut_off

Samples = NDArray[np.int16]
"""Mono sound."""

BLOCK = 2
"""Seconds that are decoded together."""

_WARM_UP = 0.25  # seconds decoded on either side of a block: codecs overlap or look back, and so does the resampler
_GAP = 0.01  # seconds by which a stamp may differ from the count of samples: containers round stamps to milliseconds
_BACK = (
    0.0,
    2.0,
    30.0,
    inf,
)  # seconds to go back farther where a container without an index of its sound seeks too far
_RANGE = {("u", 1): (128, 2.0**7), ("i", 2): (0, 2.0**15), ("i", 4): (0, 2.0**31), ("f", 4): (0, 1), ("f", 8): (0, 1)}
"""Of what kind and size samples are: which number is silence, and which the loudest."""

_Piece = tuple[float, NDArray[Any]]
"""What a decoder gave: the time of its first sample, and its samples, (C, L)."""
_Run = tuple[int, NDArray[np.float32]]
"""Sound without gaps: the number of its first sample, and its samples, mono."""


def read_sound(path: Path, rate: int, on_cut: Callable[[float], None] | None = None) -> Samples:
    """Read a whole audio file, mono, resampled, from its first sample on, whatever that one's stamp.

    Of a file that is cut off the part that is there is read; `on_cut` is then told how many seconds that are.

    Raises:
        DataError: an empty file, or one without sound.
        av.error.FFmpegError: a corrupt file.

    """
    read = [_read_all(link, rate) for link in links(path)]
    samples = np.concatenate([wave for wave, _ in read])
    if not len(samples):
        raise DataError("the sound track is empty")
    if on_cut is not None and any(lacking for _, lacking in read):
        on_cut(len(samples) / rate)
    return samples


def _read_all(file: Path | BinaryIO, rate: int) -> tuple[Samples, bool]:
    """Read all sound of a file, and tell whether that is less than its header promises."""
    with open_media(file, pictures=False) as container:
        track = track_of(container)
        native = track.rate
        pieces, whole = _decode(container, -inf, inf)
        runs = _runs(_in_a_row(pieces, native), native)
        end = max((start + len(wave) for start, wave in runs), default=0)
        lacking = not whole or cut_off(container, track, end / native)
    if not runs:
        return np.zeros(0, np.int16), lacking
    first = runs[0][0]
    return _resample(_lay(runs, first, end - first), native, rate, 0, ceil((end - first) * rate / native)), lacking


def _in_a_row(pieces: list[_Piece], rate: int) -> list[_Piece]:
    """Let sound whose clock begins anew follow the sound before it: several files that were put into one."""
    begin, due, shift, row = inf, -inf, 0.0, []
    for time, wave in pieces:
        if time < due - shift - _GAP and time < begin + _GAP:
            shift = due - time
        begin, due = min(begin, time), time + shift + wave.shape[1] / rate
        row.append((time + shift, wave))
    return row


def read_samples(path: Path, first: int, count: int, rate: int) -> Samples:
    """Read `count` samples from number `first` on, zeros where there is no sound.

    Raises:
        DataError: an empty file, or one without sound.
        av.error.FFmpegError: a corrupt file.

    """
    size = BLOCK * rate
    blocks = range(first // size, (first + count - 1) // size + 1)
    start, clock = first - blocks.start * size, cache(partial(clock_of, path))
    return np.concatenate([_read_block(path, block, rate, clock) for block in blocks])[start : start + count]


def _read_block(path: Path, block: int, rate: int, clock: Callable[[], Clock | None]) -> Samples:
    """Read one block, zeros where there is no sound: its first sample is number block * BLOCK * rate."""
    begin, end = block * BLOCK - _WARM_UP, (block + 1) * BLOCK + _WARM_UP
    for back in _BACK:
        with open_media(path, pictures=False) as container:
            track = track_of(container)
            whole = begin - back <= (track.start_time or 0) * tick_of(track)
            whole = whole or not seek(container, track, int((begin - back) / tick_of(track)))
            native, rounded = track.rate, tick_of(track) * track.rate > 1
            pieces, _ = _decode(container, -inf if whole else begin, end)
        if whole or (pieces and pieces[0][0] <= begin):
            break
    if not pieces:
        return np.zeros(BLOCK * rate, np.int16)
    if rounded and (known := clock()) is not None:
        waves = [wave for _, wave in pieces]
        times = known.exact([time for time, _ in pieces], [wave.shape[1] for wave in waves])
        pieces = list(zip(times, waves, strict=True))
    # Both rates have a sample at the block's edge; from there whole periods back, to another one that they share.
    period = native // gcd(native, rate)
    periods = ceil(_WARM_UP * native / period)
    wave = _lay(_runs(pieces, native), block * BLOCK * native - periods * period, BLOCK * native + 2 * periods * period)
    return _resample(wave, native, rate, periods * (rate // gcd(native, rate)), BLOCK * rate)


def _decode(container: InputContainer, begin: float, end: float) -> tuple[list[_Piece], bool]:
    """Decode the sound from the packet that holds `begin` to the one that holds `end`.

    The second value is False where the file ends with half a packet.
    """
    track = track_of(container)
    track.codec_context.thread_count = 1
    read_only(container, track)
    rate, tick, pieces = track.rate, tick_of(track), list[_Piece]()
    due = (track.start_time or 0) * tick if begin == -inf else None  # when the next sample begins, as far as known
    broken: Exception | None = None
    for packet in container.demux(track):
        if packet.pts is not None and (packet.pts + (packet.duration or 0)) * tick < begin:
            continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            broken = error if pieces else None  # else half a packet, where a container without an index has put us
            if not pieces and begin == -inf:
                raise
            continue
        for frame in frames:
            if broken is not None:  # in the middle, not at the end
                raise broken
            if frame.sample_rate != rate:
                raise DataError(f"the sound changes from {rate} to {frame.sample_rate} samples a second")
            time = due if frame.pts is None else frame.pts * tick  # of several frames in a packet one has a stamp
            if time is None:
                continue  # in the middle of a file, before the first stamp
            if time >= end:
                return pieces, True
            wave = frame.to_ndarray()
            if not frame.format.is_planar:
                wave = wave.reshape(-1, len(frame.layout.channels)).T
            pieces.append((time, wave))
            due = time + frame.samples / rate
    return pieces, broken is None


def _runs(pieces: list[_Piece], rate: int) -> list[_Run]:
    """Put pieces without a gap between them together."""
    groups: list[list[_Piece]] = []
    due = -inf
    for time, wave in pieces:
        if not groups or abs(time - due) > _GAP or len(wave) != len(groups[-1][-1][1]):
            groups.append([])
            due = time
        groups[-1].append((time, wave))
        due += wave.shape[1] / rate
    return [(_first(group, rate), _mono(np.concatenate([wave for _, wave in group], 1))) for group in groups]


def _first(group: list[_Piece], rate: int) -> int:
    """Number the first sample of pieces, by the middle of what all of their stamps say, which are rounded each."""
    before = np.cumsum([0] + [wave.shape[1] for _, wave in group[:-1]])
    told = np.array([time for time, _ in group]) * rate - before
    return round(float(told.min() + told.max()) / 2)


def _mono(wave: NDArray[Any]) -> NDArray[np.float32]:
    """Average the channels of (C, L), of integers or floats, in [-1, 1]."""
    zero, full = _RANGE[wave.dtype.kind, wave.dtype.itemsize]
    mean: NDArray[np.float32] = wave.mean(0, dtype=np.float32)
    return (mean - np.float32(zero)) / np.float32(full)


def _lay(runs: list[_Run], first: int, count: int) -> NDArray[np.float32]:
    """Lay runs out on a stretch of silence that begins with sample `first`."""
    wave = np.zeros(count, np.float32)
    for start, run in runs:
        begin, end = max(start, first), min(start + len(run), first + count)
        if begin < end:
            wave[begin - first : end - first] = run[begin - start : end - start]
    return wave


def _resample(wave: NDArray[np.float32], native: int, rate: int, skip: int, count: int) -> Samples:
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
