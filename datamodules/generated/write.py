"""Videos of bouncing balls, written as mp4 files: a folder of them appears at once, when all are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from shutil import rmtree

import av
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from datamodules.base import Split
from datamodules.errors import DataError
from datamodules.generated import balls
from datamodules.options import cores


def make(folder: Path, train: int, test: int, content: int) -> None:
    """Write both splits into a folder, unless it is there.

    It appears at once, when all is written, so it is never found half full. Of several processes one writes while the
    others wait; if it is killed, the next begins anew.

    Raises:
        DataError: the folder cannot be written.

    """
    if folder.exists():
        return
    draft = folder.with_name(f"{folder.name}.draft")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if folder.exists():  # made while we waited
                return
            rmtree(draft, ignore_errors=True)
            write(draft, "train", train, content, cores())
            write(draft, "test", test, content, cores())
            draft.rename(folder)
    except OSError as error:
        raise DataError(
            f"Bouncing cannot write its videos to {folder} ({error}); name another folder as root"
        ) from error


def write(folder: Path, split: Split, count: int, content: int = 0, workers: int = 2) -> None:
    """Write `count` videos as `folder/split/<class>/<number>.mp4`, as many of each class as of any other, or one more.

    Each is decided by (`balls.VERSION`, `content`, `split`, its number) alone.
    """
    for name in balls.CLASSES:
        (folder / split / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as threads:  # drawing and encoding leave Python's lock
        list(threads.map(lambda number: write_one(folder, split, number, content), range(count)))


def write_one(folder: Path, split: Split, number: int, content: int) -> Path:
    """Draw, sound and encode one video."""
    name = balls.CLASSES[number % len(balls.CLASSES)]
    path = folder / split / name / f"{number:05}.mp4"
    rng = np.random.default_rng([balls.VERSION, content, ("train", "test").index(split), number])
    ball = balls.throw(name, rng)
    track, hits = balls.motion(ball)
    encode(path, balls.look(ball, track, hits, rng), balls.sound(ball, hits, rng))
    return path


def encode(path: Path, frames: NDArray[np.uint8], samples: NDArray[np.int16]) -> None:
    """Write frames (T, H, W, 3) and samples (L,) as mp4: H.264 with B-frames, a keyframe every 12, and AAC."""
    with av.open(str(path), "w") as container:
        h264 = "libx264" in av.codecs_available
        # One thread and no macroblock trees, with which x264's bytes differ from run to run (seen at 64 x 64 pixels).
        options = {"preset": "veryfast", "crf": "20", "threads": "1", "mbtree": "0"} if h264 else {}
        video = container.add_stream("libx264" if h264 else "mpeg4", rate=balls.FPS, options={"g": "12", **options})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = container.add_stream("aac", rate=balls.RATE, layout="mono", bit_rate=64_000)
        for k, picture in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(picture, "rgb24")
            shown.pts, shown.time_base = k, Fraction(1, balls.FPS)
            container.mux(video.encode(shown))
        container.mux(video.encode(None))
        heard = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        heard.sample_rate, heard.pts, heard.time_base = balls.RATE, 0, Fraction(1, balls.RATE)
        container.mux(audio.encode(heard))
        container.mux(audio.encode(None))
