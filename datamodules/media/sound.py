"""From a sound track to mono samples on an absolute grid: sample n is the sound at n / rate on the container's clock.

Sound is decoded in blocks of two seconds whose edges are fixed on that clock, each by a decoder that knows nothing of
what was decoded before. So a sample has the same value, bit for bit, whichever window it is read with: codecs that make
up noise (AAC, HE-AAC, Opus) would otherwise never repeat themselves after a seek.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, gcd, inf
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer

from datamodules.errors import DataError
from datamodules.media.clock import Clock, clock_of
from datamodules.media.containers import open_media, read_only, seek, tick_of, track_of
from datamodules.media.ogg import links
from datamodules.media.span import cut_off
from datamodules.media.waves import GAP, Piece, Samples, by_channel, lay, resample, runs_of

BLOCK = 2
"""Seconds that are decoded together."""

_WARM_UP = 0.25  # seconds decoded on either side of a block: codecs overlap or look back, and so does the resampler
_BACK = (
    0.0,
    2.0,
    30.0,
    inf,
)  # seconds to go back farther where a container without an index of its sound seeks too far


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
        runs = runs_of(_in_a_row(pieces, native), native)
        end = max((start + len(wave) for start, wave in runs), default=0)
        lacking = not whole or cut_off(container, track, end / native)
    if not runs:
        return np.zeros(0, np.int16), lacking
    first = runs[0][0]
    return resample(lay(runs, first, end - first), native, rate, 0, ceil((end - first) * rate / native)), lacking


def _in_a_row(pieces: list[Piece], rate: int) -> list[Piece]:
    """Let sound whose clock begins anew follow the sound before it: several files that were put into one."""
    begin, due, shift, row = inf, -inf, 0.0, []
    for time, wave in pieces:
        if time < due - shift - GAP and time < begin + GAP:
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
    start, clock = first - blocks.start * size, partial(clock_of, path)
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
    before = periods * period
    wave = lay(runs_of(pieces, native), block * BLOCK * native - before, BLOCK * native + 2 * before)
    return resample(wave, native, rate, periods * (rate // gcd(native, rate)), BLOCK * rate)


def _decode(container: InputContainer, begin: float, end: float) -> tuple[list[Piece], bool]:
    """Decode from the packet that holds `begin` to that of `end`; tell whether the file ends with a whole packet."""
    track = track_of(container)
    track.codec_context.thread_count = 1
    read_only(container, track)
    rate, tick, pieces = track.rate, tick_of(track), list[Piece]()
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
        if frames and broken is not None:  # in the middle, not at the end
            raise broken
        for frame in frames:
            if frame.sample_rate != rate:
                raise DataError(f"the sound changes from {rate} to {frame.sample_rate} samples a second")
            time = due if frame.pts is None else frame.pts * tick  # of several frames in a packet one has a stamp
            if time is None:
                continue  # in the middle of a file, before the first stamp
            if time >= end:
                return pieces, True
            pieces.append((time, by_channel(frame)))
            due = time + frame.samples / rate
    return pieces, broken is None
