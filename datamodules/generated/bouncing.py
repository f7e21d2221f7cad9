"""Small videos with sound, made on the spot: real mp4 files to train on, test with and show, without any download."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from datamodules.base import DataModule, Split
from datamodules.errors import require
from datamodules.generated import balls
from datamodules.generated.write import make
from datamodules.loader import Source
from datamodules.options import READING, SAMPLING, SPLITTING, Reading, Sampling, Splitting
from datamodules.videos.clips import DISK, Clips, Disk
from datamodules.videos.cutting import WINDOWS, Modality, Windows


@dataclass(frozen=True)
class Videos:
    """Which videos are made.

    Args:
        train_videos: how many to train on.
        test_videos: how many to test on.
        content: another number makes other videos of the same kinds.

    """

    train_videos: int = 400
    test_videos: int = 104
    content: int = 0

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        kinds, got = len(balls.CLASSES), f"train_videos={self.train_videos}, test_videos={self.test_videos}"
        require(owner, min(self.train_videos, self.test_videos) >= kinds, got, f"at least {kinds} of each")
        require(owner, self.content >= 0, f"content={self.content}", "0 or more")


VIDEOS = Videos()
"""The group with nothing but defaults."""


@final
class Bouncing(DataModule):
    """Videos of a ball that sounds and flashes whenever it hits a wall: 64 x 64 pixels, 3 s at 25 fps, AAC at 16 kHz.

    Eight classes: how the ball moves (along arcs, falling, straight across, level) and whether it is fast or slow. The
    sound tells them as well: each way to move has its timbre, and what is fast is about an octave higher. A single
    picture does not: place, size, colours and background are random. Time has an arrow: a hit takes some of the
    speed; its flash (to white or black) and its sound begin at once and fade.

    The files are written once, H.264 and AAC in mp4 (23 MB and 10 s of two cores as they come), and read by `Clips`,
    whose windows, modalities and batches these are.

    Args:
        root: the folder to write into, where each choice of `videos` gets a folder of its own; by default `pretext` in
            the user's cache folder.
        videos: how many there are, and which.
        modalities: what x holds, one or some of "rgb", "grey", "flow" (needs OpenCV) and "audio".
        canvas: side of the square of pictures, pixels; the files have 64.
        windows: when windows begin and how long they are.
        sampling: samples of sound per second (the files have 16,000), and clips per video that `ordered` yields.
        batch_size: windows per batch and process.
        reading: how files are read.
        split: which videos are for what; the test set is laid down.
        disk: where decoded videos are kept.
        seed: of the order of training and of its windows.

    """

    shown = ("modalities", "canvas", "windows", "sampling.rate")

    def __init__(
        self,
        root: str | Path | None = None,
        videos: Videos = VIDEOS,
        modalities: Modality | Sequence[Modality] = ("rgb", "audio"),
        canvas: int = balls.SIDE,
        windows: Windows = WINDOWS,
        sampling: Sampling = SAMPLING,
        batch_size: int = 16,
        reading: Reading = READING,
        split: Splitting = SPLITTING,
        disk: Disk = DISK,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        videos.check(self)
        split.refuse_folds(self)
        self.root = cache_folder() if root is None else Path(root).expanduser()
        self.videos = videos
        self._clips = Clips(
            self.folder,
            modalities=modalities,
            canvas=canvas,
            windows=windows,
            sampling=sampling,
            batch_size=batch_size,
            reading=reading,
            split=split,
            disk=disk,
            seed=seed,
        )

    @property
    def folder(self) -> Path:
        """Where these very videos lie."""
        videos = self.videos
        return self.root / f"bouncing-{balls.VERSION}-{videos.content}-{videos.train_videos}-{videos.test_videos}"

    @property
    def rate(self) -> int | None:
        """Samples per second of the sound that it yields, if any."""
        return self._clips.rate

    @property
    def classes(self) -> list[str]:
        return list(balls.CLASSES)

    def prepare_data(self) -> None:
        make(self.folder, self.videos.train_videos, self.videos.test_videos, self.videos.content)

    def open(self, split: Split) -> Source:
        self.prepare_data()
        return self._clips.source(split, self._skipped.add)  # it is this module that has the list, and knows of a run


def cache_folder() -> Path:
    """Name the user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pretext"
