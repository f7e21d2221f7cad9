"""Real video and sound files for tests, written with PyAV: pictures carry their number, flashes and beeps are exact.

    write(path, numbered(30), regular(30, 25))                               # silent, 25 frames a second
    write(path, numbered(30), irregular(30), beeps(2.0, [0.5]), sound_at=0.2)   # no fixed rate, the sound starts later
    [number(picture) for picture in decoded]                                 # which frames came back

Time 0 is the start of the container's clock. Formats follow the suffix: .mp4, .mov, .mkv, .avi, .ogg, .mp3, .wav ...
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8
TICK = Fraction(1, 90_000)


def numbered(count: int, height: int = 48, width: int = 64, first: int = 0) -> NDArray[np.uint8]:
    """Draw pictures (F, H, W, 3) that carry their number as grey blocks, 4 x 2 of them in the centre square."""
    side = min(height, width)
    y, x = np.mgrid[:height, :width]
    row, column = (y - (height - side) // 2) * 2 // side, (x - (width - side) // 2) * 4 // side
    bit = np.where((column >= 0) & (column < 4), row * 4 + column, BITS)
    numbers = np.arange(first, first + count).reshape(-1, 1, 1)
    grey = np.where(bit == BITS, 100, np.where((numbers >> np.minimum(bit, BITS - 1)) & 1, 200, 40))
    return np.repeat(grey[..., None], 3, -1).astype(np.uint8)


def number(picture: NDArray[np.uint8]) -> int:
    """Read the number back from the centre square of a picture, (3, S, S)."""
    side = picture.shape[-1]
    rows, columns = (np.arange(2) * 2 + 1) * side // 4, (np.arange(4) * 2 + 1) * side // 8
    bits = picture.mean(0)[rows[:, None], columns[None]].reshape(-1) > 120
    return int((bits << np.arange(BITS)).sum())


def plain(colours: Sequence[tuple[int, int, int]], height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Draw one picture of each colour: (F, H, W, 3)."""
    return np.broadcast_to(np.asarray(colours, np.uint8)[:, None, None], (len(colours), height, width, 3)).copy()


def flashes(times: NDArray[np.float64], at: Sequence[float], height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Draw black pictures, white where they are the one on show at one of the moments `at`."""
    white = np.isin(np.arange(len(times)), np.searchsorted(times, np.asarray(at) + 1e-6, "right") - 1)
    return plain([(255,) * 3 if flash else (0,) * 3 for flash in white], height, width)


def regular(count: int, fps: float, begin: float = 0.0) -> NDArray[np.float64]:
    """Times of `count` frames at a fixed rate."""
    return begin + np.arange(count) / fps


def irregular(count: int, begin: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """Times of `count` frames with gaps of 10 to 120 ms, in whole milliseconds."""
    gaps = np.random.default_rng(seed).integers(10, 120, count - 1) / 1000
    return begin + np.concatenate([[0.0], gaps.cumsum()])


def silence(seconds: float, rate: int = 48_000, channels: int = 1) -> NDArray[np.float32]:
    """Write zeros, (channels, L)."""
    return np.zeros((channels, round(seconds * rate)), np.float32)


def beeps(
    seconds: float,
    at: Sequence[float],
    rate: int = 48_000,
    channels: int = 1,
    length: float = 0.04,
    pitch: float = 1000.0,
) -> NDArray[np.float32]:
    """Write silence with short tones that begin, at full strength, at moments after its start: (channels, L)."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.zeros_like(time)
    for moment in at:
        wave += np.where(
            (time >= moment) & (time < moment + length), 0.8 * np.cos(2 * np.pi * pitch * (time - moment)), 0
        )
    return np.broadcast_to(wave, (channels, len(wave))).astype(np.float32)


def onset(samples: NDArray[np.int16], rate: int, threshold: float = 0.3) -> float:
    """Find when a beep begins: seconds to where the loudness first passes a share of its peak."""
    loud = np.abs(samples.astype(np.float64))
    return float(np.argmax(loud > threshold * loud.max())) / rate


def write(
    path: Path,
    pictures: NDArray[np.uint8] | None = None,
    times: NDArray[np.float64] | None = None,
    sound: NDArray[np.float32] | None = None,
    *,
    rate: int = 48_000,
    sound_at: float = 0.0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound_codec: str | None = None,
    matrix: str | None = None,
    last: float = 0.04,
) -> Path:
    """Write a file of pictures (F, H, W, 3), each on show from its time on, of sound (channels, L), or of both.

    The default encodes two keyframes a second at 25 fps with B-frames between. `matrix` is the colour matrix and range
    to use and to declare, as "itu709 jpeg"; `last` is how long the last picture stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    packets: list[tuple[float, av.Packet]] = []
    with av.open(str(path), "w") as container:
        # All streams are there before the first packet; packets are then written in the order of their times.
        if pictures is not None:
            assert times is not None
            gop = {"g": "12", "bf": "3"} if "264" in codec else {}
            film = container.add_stream(codec, rate=25, options={**gop, **(options or {})})
            film.height, film.width, film.pix_fmt = *pictures.shape[1:3], pix_fmt
            if matrix is not None:
                space, span = matrix.split()
                film.codec_context.colorspace = {"itu601": 6, "itu709": 1}[space]
                film.codec_context.color_range = {"mpeg": 1, "jpeg": 2}[span]
            film.codec_context.time_base = TICK if codec != "mpeg4" else Fraction(1, 1000)
        if sound is not None:
            track = container.add_stream(sound_codec or _sound_codec(path), rate=rate)
            track.layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
            if sound_codec == "vorbis":
                track.codec_context.options = {"strict": "experimental"}
        if pictures is not None:
            packets += _film(film, pictures, times, last, matrix)
        if sound is not None:
            packets += _track(track, sound, rate, sound_at)
        for _, packet in sorted(packets, key=lambda pair: pair[0]):
            container.mux(packet)
    return path


def _sound_codec(path: Path) -> str:
    return {".ogg": "libopus", ".mp3": "libmp3lame", ".wav": "pcm_s16le", ".flac": "flac"}.get(path.suffix, "aac")


def _film(
    stream: av.VideoStream, pictures: NDArray[np.uint8], times: NDArray[np.float64], last: float, matrix: str | None
) -> Iterator[tuple[float, av.Packet]]:
    base = stream.codec_context.time_base
    assert base is not None
    ticks = [round(time / base) for time in [*times, times[-1] + last]]
    for picture, start, end in zip([*pictures, None], ticks, [*ticks[1:], 0], strict=True):
        frame = None
        if picture is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            space, span = (matrix or "itu601 mpeg").split()
            frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=space.upper(), dst_color_range=span.upper())
            frame.pts, frame.time_base, frame.duration = start, base, end - start
        for packet in stream.encode(frame):
            assert packet.dts is not None
            yield float(packet.dts * packet.time_base), packet


def _track(
    stream: av.AudioStream, sound: NDArray[np.float32], rate: int, begin: float
) -> Iterator[tuple[float, av.Packet]]:
    resampler = av.AudioResampler(stream.format, stream.layout, rate, stream.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", stream.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = rate, round(begin * rate), Fraction(1, rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        for packet in stream.encode(piece):
            assert packet.dts is not None
            yield float(packet.dts * packet.time_base), packet


def faststart(path: Path) -> None:
    """Put the index of an mp4 file first, as for the web: what is cut off later can be read up to there."""
    moved = path.with_name(f"moved {path.name}")
    with av.open(str(path)) as old, av.open(str(moved), "w", options={"movflags": "+faststart"}) as new:
        streams = [new.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    moved.replace(path)


def rotate(path: Path, degrees: int) -> None:
    """Let an mp4 file ask to be turned clockwise by 90, 180 or 270 degrees when shown, as telephones write them."""
    data = bytearray(path.read_bytes())
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    at = data.find(b"tkhd")
    while at >= 0:
        # Its name, version and flags: 8 bytes; times and number: 20, or 32 in version 1; layers and volume: 16.
        start = at + 8 + (32 if data[at + 4] else 20) + 16
        if struct.unpack_from(">I", data, start + 36)[0]:  # it has a width: the video's
            struct.pack_into(">9i", data, start, cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
        at = data.find(b"tkhd", at + 4)
    path.write_bytes(data)
