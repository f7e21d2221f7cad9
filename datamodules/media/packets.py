"""Packets of a film: where decoding may begin, and whether they hold what is on show at given times."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError

Packets = list["av.Packet[av.VideoStream]"]
"""Packets in their order of decoding."""


def last_key(packets: Packets, first: int) -> int | None:
    """Find the last keyframe that is shown at a tick or before."""
    keys = (i for i, p in enumerate(packets) if p.is_keyframe and p.pts is not None and p.pts <= first)
    return max(keys, default=None)


def refuse_outside(
    tick: float,
    times: NDArray[np.float64],
    ticks: NDArray[np.int64],
    packets: Packets,
    stamps: NDArray[np.int64],
    until: int,
) -> None:
    """Refuse times at which no frame is on show; the last of all stays `until` a tick, if it does not end later."""
    if not len(stamps):
        raise DataError("no frames with time stamps")
    if ticks[0] < stamps[0]:
        raise DataError(f"begins too late: {stamps[0] * tick:.3f} s, after {times[0]:.3f} s")
    if stamps[-1] <= ticks[-1]:  # the last frame of all
        duration = max(packet.duration or 0 for packet in packets if packet.pts == stamps[-1])
        if duration == 0 and len(stamps) > 1:
            duration = int(np.diff(stamps).max())
        end = max(int(stamps[-1]) + duration, until)
        if ticks[-1] > end:
            raise DataError(f"too short: ends at {end * tick:.3f} s, before {times[-1]:.3f} s")
