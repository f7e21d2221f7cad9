"""Small whole files of every format that the data modules read, made here: pictures, videos and sounds."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PIECES = 3  # whole files of each format
SIDE = 64  # pixels: SVT's AV1 encoder takes no less
FPS, SECONDS, RATE = 25, 1, 16_000
Array = NDArray[np.uint8]


class Format(NamedTuple):
    """A kind of file."""

    name: str
    module: str
    """Which data module reads it: "pictures", "videos" or "sounds"."""
    suffix: str
    make: Callable[[int], bytes]
    """Makes whole file number k."""
    sound: bool = False
    """Of a video, whether it has sound."""


@cache
def whole_files(name: str) -> list[bytes]:
    """Make the whole files of a format."""
    return [FORMATS[name].make(k) for k in range(PIECES)]


def picture(number: int, side: int = SIDE) -> Array:
    """Draw a smooth picture with some grain, (H, W, 3)."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side - 16), Image.Resampling.BILINEAR)).astype(int)
    return np.clip(smooth + chance.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def _image(
    form: str, prepare: Callable[[Image.Image], Image.Image] = lambda x: x, **options: object
) -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        file = BytesIO()
        prepare(Image.fromarray(picture(number))).save(file, form, **options)
        return file.getvalue()

    return make


def _animation(form: str) -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        file = BytesIO()
        first, *rest = (Image.fromarray(picture(10 * number + k)) for k in range(3))
        first.save(file, form, save_all=True, append_images=rest, duration=40)
        return file.getvalue()

    return make


def _deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def _palette(picture: Image.Image) -> Image.Image:
    reduced = picture.quantize(32)
    reduced.info["transparency"] = 0
    return reduced


def _film(container: str, codec: str, sound: str | None = None, **options: str) -> Callable[[int], bytes]:
    """Make a film of a moving picture, with a tone where a codec of sound is named."""

    def make(number: int) -> bytes:
        import av

        os.environ.setdefault("SVT_LOG", "1")
        file = BytesIO()
        with av.open(file, "w", format=container) as out:
            stream = out.add_stream(codec, rate=FPS, options={"g": "10", **options})
            stream.width = stream.height = SIDE
            stream.pix_fmt = "yuv420p"
            track = None if sound is None else out.add_stream(sound, rate=48_000)
            if track is not None:
                track.layout = "mono"
            ground = np.asarray(Image.fromarray(picture(number)).resize((SIDE, SIDE)))
            for k in range(FPS * SECONDS):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(ground, 2 * k, 1)), "rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
            if track is not None:
                _sing(out, track, number, 48_000)
        return file.getvalue()

    return make


def _song(container: str, codec: str, channels: int = 1, **options: str) -> Callable[[int], bytes]:
    def make(number: int) -> bytes:
        import av

        file, rate = BytesIO(), 48_000
        with av.open(file, "w", format=container) as out:
            track = out.add_stream(codec, rate=rate, options=options)
            track.layout = {1: "mono", 2: "stereo"}[channels]
            _sing(out, track, number, rate)
        return file.getvalue()

    return make


def _sing(out: object, track: object, number: int, rate: int) -> None:
    """Encode a tone that rises."""
    import av

    time = np.arange(rate * SECONDS) / rate
    wave = (0.5 * np.sin(2 * np.pi * (300 + 100 * number + 200 * time) * time)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
    frame.sample_rate, frame.pts = rate, 0
    resampler = av.AudioResampler(track.format, track.layout, rate, track.frame_size or 1024)
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        out.mux(track.encode(piece))


_LIST = [
    Format("JPEG", "pictures", ".jpg", _image("JPEG", quality=85)),
    Format("JPEG, progressive", "pictures", ".jpg", _image("JPEG", progressive=True)),
    Format("PNG", "pictures", ".png", _image("PNG")),
    Format("PNG, 16 bit", "pictures", ".png", _image("PNG", _deep)),
    Format("PNG, palette", "pictures", ".png", _image("PNG", _palette)),
    Format("WebP", "pictures", ".webp", _image("WEBP", quality=80)),
    Format("WebP, animated", "pictures", ".webp", _animation("WEBP")),
    Format("GIF, called .png", "pictures", ".png", _animation("GIF")),
    Format("MP4, H.264 and AAC", "videos", ".mp4", _film("mp4", "libx264", "aac", bf="2"), sound=True),
    Format("MKV, HEVC", "videos", ".mkv", _film("matroska", "libx265", **{"x265-params": "log-level=none"})),
    Format(
        "WebM, VP9 and Opus", "videos", ".webm", _film("webm", "libvpx-vp9", "libopus", deadline="realtime"), sound=True
    ),
    Format("MP4, AV1", "videos", ".mp4", _film("mp4", "libsvtav1", preset="12")),
    Format("AVI, MPEG-4 and MP3", "videos", ".avi", _film("avi", "mpeg4", "libmp3lame", bf="2"), sound=True),
    Format("TS, H.264", "videos", ".ts", _film("mpegts", "libx264", bf="2")),
    Format("WAV", "sounds", ".wav", _song("wav", "pcm_s16le")),
    Format("FLAC", "sounds", ".flac", _song("flac", "flac")),
    Format("MP3", "sounds", ".mp3", _song("mp3", "libmp3lame")),
    Format("Ogg, Opus", "sounds", ".ogg", _song("ogg", "libopus")),
    Format("Ogg, Vorbis", "sounds", ".ogg", _song("ogg", "vorbis", 2, strict="experimental")),
    Format("M4A, AAC", "sounds", ".m4a", _song("ipod", "aac")),
]
FORMATS = {form.name: form for form in _LIST}
