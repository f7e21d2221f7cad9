"""Clips of videos, with sound, grey pictures and optical flow, for training, testing and probing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import final, get_args

import av

from datamodules.base import DataModule, Split
from datamodules.errors import require
from datamodules.file_source import FileSource
from datamodules.listing import Listing, of_split
from datamodules.lists import LISTS, Lists
from datamodules.options import DISK as DISK
from datamodules.options import READING, SAMPLING, Reading, Sampling, Splitting
from datamodules.options import Disk as Disk
from datamodules.videos import flow
from datamodules.videos.cache import ClipCache
from datamodules.videos.cutting import WINDOWS, Cutting, Modality, Windows
from datamodules.videos.layouts import Layout, splits
from datamodules.videos.windows import ClipWindows

_VERSION = 2  # of what the cache holds: raise it when the bytes change
_FIFTH = Splitting(test=0.2)


@final
class Clips(DataModule):
    """Windows of videos: seconds-long parts, the frames on a common clock with the sound.

    A window begins at a moment t0 of the container's clock: frame i is the one on show at t0 + i / fps, sound sample j
    is the sound at t0 + j / rate (to half a sample), also where the streams start at different times or the frames
    have no fixed rate. Training draws the moment anew in every epoch; validation and test take the centre of each
    video; `ordered`, for probing, takes `clips` evenly spaced clips of `frames` frames, as rows that share their
    index. Windows lie where all that is asked for is: flow needs one frame more on either side.

    Of one modality, x is the tensor, of several a dict: "rgb" uint8 (N, 3, W, S, S), "grey" (N, 1, W, S, S), "flow"
    (N, 2, W, S, S) (to the right, down: 128 is rest, 127 more is an eighth of the side per frame), "audio" int16
    (N, 1, L), mono, L = round(W rate / fps). Pictures are turned upright, resized once (antialiased) so that the
    short side is the canvas, and cut to the centre square.

    A video that is broken, too short for a window, without a sound track or silent there (where sound is asked for; of
    several clips all of them) is left out or, in training, replaced by the next good one; it is listed in `skipped` and
    in the run's `skipped.txt`. So is a file that is cut off, whose good part is used.

    Layouts, all without opening a file:

    - "folders": `root/{train,test|val|valid|validation}/<class>/**` or `root/<class>/**`; unlabelled if there are
      no class folders. Any other folder of videos beside `train` is refused.
    - "files": the same folders without labels, or simply all videos at any depth.
    - "lists": `train_list` and `test_list`, or one list with a column for the split; see `columns`. Paths begin at the
      root, or in a folder in it that is called as the list (without suffix), `videos` or `clips`.
    - "ucf101": `ucfTrainTestlist/trainlist01.txt` and so on, videos in `UCF-101/<class>`; see `fold`.
    - "hmdb51": `<class>_test_split1.txt` and so on, in the root or a folder in it, videos in `<class>`; see `fold`.
    - "kinetics": `train.csv` and `val.csv`, videos `<id>_<start>_<end>.mp4` in any folders; missing ones are left out.

    Args:
        root: the folder.
        layout: how files, labels and splits are found.
        modalities: what x holds, one or some of "rgb", "grey", "flow" (needs OpenCV) and "audio".
        canvas: side of the square of pictures, pixels; a little more than the crop.
        windows: when windows begin and how long they are.
        sampling: samples of sound per second, and clips per video that `ordered` yields.
        batch_size: windows per batch and process.
        lists: the lists of the layouts "lists" and "kinetics".
        reading: how files are read; files count as bad that prove so in one pass.
        split: which files are for what; its `fold`, 1 to 3, names an official split of "ucf101" and "hmdb51".
        disk: where decoded videos are kept.
        seed: of the order of training and of its windows.

    """

    shown = ("modalities", "canvas", "windows", "sampling.rate")

    def __init__(
        self,
        root: str | Path,
        layout: Layout = "folders",
        modalities: Modality | Sequence[Modality] = ("rgb",),
        canvas: int = 128,
        windows: Windows = WINDOWS,
        sampling: Sampling = SAMPLING,
        batch_size: int = 16,
        lists: Lists = LISTS,
        reading: Reading = READING,
        split: Splitting = _FIFTH,
        disk: Disk = DISK,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        require(self, layout in get_args(Layout), f"layout={layout!r}", f"one of {', '.join(get_args(Layout))}")
        require(self, str(split.fold) in ("1", "2", "3"), f"fold={split.fold!r}", "1, 2 or 3")
        reading.check(self)
        disk.check(self)
        several = (modalities,) if isinstance(modalities, str) else tuple(modalities)
        self.how = Cutting.of(several, canvas, windows, sampling)
        self.how.check(self)
        self.root, self.layout, self.lists = Path(root).expanduser(), layout, lists
        self.test, self.fold, self.reading, self.disk = split.test_share(self), int(split.fold), reading, disk
        self._opencv = flow.check() if "flow" in several else None  # now, not in a worker for every file

    @property
    def rate(self) -> int | None:
        """Samples per second of the sound that it yields, if any."""
        return self.how.rate if "audio" in self.how.modalities else None

    @property
    def classes(self) -> list[str]:
        return self._files[0]

    def open(self, split: Split) -> FileSource:
        return self.source(split, self._skipped.add)

    def source(self, split: Split, on_bad: Callable[[dict[str, str]], None]) -> FileSource:
        """Open a split; `on_bad` is told the names of bad files with their causes."""
        _, train, test = self._files
        listing = of_split(split, train, test, self.root)
        decoder = ClipWindows(self.how, self._cache)
        return FileSource(self.root, listing.names, listing.y, decoder, self.reading, on_bad)

    @cached_property
    def _cache(self) -> ClipCache | None:
        how, disk = self.how, self.disk
        if disk.folder is None:
            return None
        settings = (_VERSION, av.__version__, self._opencv, self.root.resolve(), how.stored, how.fps, how.canvas)
        return ClipCache(disk.folder, (*settings, self.rate, how.motion), disk.limit)

    @cached_property
    def _files(self) -> tuple[list[str], Listing, Listing]:
        """The classes, what there is to train on, what to test on."""
        return splits(self.root, self.layout, self.fold, self.lists).settled(self.test, self.limit)
