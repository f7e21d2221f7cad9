"""Small videos with sound, made on the spot: real mp4 files to train on, test with and show, without any download."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from shutil import rmtree

import av
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from datamodules.base import DataError, DataModule, Split
from datamodules.generated import balls
from datamodules.images.folders import cores
from datamodules.loader import Source
from datamodules.videos.clips import Clips
from datamodules.videos.strips import Modality


class Bouncing(DataModule):
    """Videos of a ball that sounds and flashes whenever it hits a wall: 64 x 64 pixels, 3 s at 25 fps, AAC at 16 kHz.

    Eight classes: how the ball moves (along arcs, falling, straight across, level) and whether it is fast or slow. The
    sound tells them as well: each way to move has its timbre, and what is fast is about an octave higher. A single
    picture does not: place, size, colours and background are random. Time has an arrow: a hit takes some of the
    speed; its flash (to white or black) and its sound begin at once and fade.

    The files are written once, H.264 and AAC in mp4 (23 MB and 10 s of two cores as they come), and read by `Clips`,
    whose windows, modalities and batches these are.

    Args:
        root: the folder to write into; by default `pretext` in the user's cache folder. Each choice of `train_videos`,
            `test_videos` and `content` gets a folder of its own in it.
        train_videos: how many to train on.
        test_videos: how many to test on.
        content: another number makes other videos of the same kinds.
        modalities: what x holds, one or some of "rgb", "grey", "flow" (needs OpenCV) and "audio".
        frames: frames of a clip, as `ordered` yields them.
        fps: frames per second of a clip.
        window: frames of a window in training, validation and test, if more than a clip.
        canvas: side of the square of pictures, pixels; the files have 64.
        rate: samples of sound per second; the files have 16,000.
        clips: clips per video that `ordered` yields.
        batch_size: windows per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        limit: use only so many videos of the training set.
        cache: a folder to keep decoded videos in, see `Clips`.
        max_bad: stop when more than this share of a split's files proves bad in one pass.
        seed: of the order of training and of its windows.

    """

    def __init__(
        self,
        root: str | Path | None = None,
        train_videos: int = 400,
        test_videos: int = 104,
        content: int = 0,
        modalities: Modality | Sequence[Modality] = ("rgb", "audio"),
        frames: int = 16,
        fps: float = 12.5,
        window: int | None = None,
        canvas: int = balls.SIDE,
        rate: int = balls.RATE,
        clips: int = 3,
        batch_size: int = 16,
        workers: int | None = None,
        val: float = 0.1,
        limit: int | None = None,
        cache: str | Path | None = None,
        max_bad: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        kinds = len(balls.CLASSES)
        got = f"train_videos={train_videos}, test_videos={test_videos}"
        self._refuse_unless(min(train_videos, test_videos) >= kinds, got, f"at least {kinds} of each")
        self._refuse_unless(content >= 0, f"content={content}", "0 or more")
        self.root = cache_folder() if root is None else Path(root).expanduser()
        self.train_videos, self.test_videos, self.content = train_videos, test_videos, content
        self._clips = Clips(
            self.folder,
            "folders",
            modalities,
            frames,
            fps,
            window,
            canvas,
            rate,
            clips,
            batch_size=batch_size,
            workers=workers,
            val=val,
            limit=limit,
            cache=cache,
            max_bad=max_bad,
            seed=seed,
        )

    @property
    def folder(self) -> Path:
        """Where these very videos lie."""
        return self.root / f"bouncing-{balls.VERSION}-{self.content}-{self.train_videos}-{self.test_videos}"

    @property
    def classes(self) -> list[str]:
        return list(balls.CLASSES)

    def prepare_data(self) -> None:
        make(self.folder, self.train_videos, self.test_videos, self.content)

    def open(self, split: Split) -> Source:
        self.prepare_data()
        source = self._clips.open(split)
        source.on_bad = self._skip  # it is this module that has the list, and knows of a run
        return source


def cache_folder() -> Path:
    """Name the user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pretext"


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
