"""Clips of videos, with sound, grey pictures and optical flow, for training, testing and probing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import av

from datamodules.base import DataModule, Split, chosen
from datamodules.images.folders import cores, divide
from datamodules.lists import Splits
from datamodules.videos import flow
from datamodules.videos.cache import ClipCache
from datamodules.videos.layouts import LAYOUTS, splits
from datamodules.videos.strips import Cutting, Modality
from datamodules.videos.windows import ClipFiles

_VERSION = 1  # of what the cache holds: raise it when the bytes change


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
    in the run's `skipped.txt`.

    Layouts, all without opening a file:

    - "folders": `root/{train,test|val|validation|validate}/<class>/**` or `root/<class>/**`; unlabelled if there are
      no class folders.
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
        frames: frames of a clip, as `ordered` yields them.
        fps: frames per second of a clip, whatever the files have.
        window: frames of a window in training, validation and test, if more than a clip: tasks then draw their clips,
            later moments or misaligned sound from it.
        canvas: side of the square of pictures, pixels; a little more than the crop.
        rate: samples of sound per second.
        clips: clips per video that `ordered` yields.
        motion: draw training windows with probability proportional to the motion in them (mean absolute difference
            of successive grey pictures) instead of uniformly. The whole of each video is decoded for it, once per
            process and video, or once for all with a cache; far more than the window itself of long videos.
        batch_size: windows per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        test: share of all files held out for testing, where no test set is laid down.
        limit: use only so many files of the training set.
        fold: which of the official splits of "ucf101" and "hmdb51", 1 to 3.
        train_list: path of the list of "lists" and "kinetics", from the root.
        test_list: the same for the test set.
        columns: of "file", "label" and "split" each the column that holds it in "lists": its name in the header, or its
            number from 0 where the list has no header. By default a header with these names, or file and label.
        cache: a folder to keep decoded videos in (each whole, if it takes up to 128 MiB: frames x 3 x canvas x canvas
            bytes), safe under several processes. Batches are the same with and without.
        cache_gb: gigabytes that the folder may hold; when full, videos of other settings go first.
        max_bad: stop when more than this share of a split's files proves bad in one pass.
        seed: of the order of training and of its windows.

    """

    def __init__(
        self,
        root: str | Path,
        layout: Literal["folders", "files", "lists", "ucf101", "hmdb51", "kinetics"] = "folders",
        modalities: Modality | Sequence[Modality] = ("rgb",),
        frames: int = 16,
        fps: float = 12.5,
        window: int | None = None,
        canvas: int = 128,
        rate: int = 16_000,
        clips: int = 3,
        motion: bool = False,
        batch_size: int = 16,
        workers: int | None = None,
        val: float = 0.1,
        test: float = 0.2,
        limit: int | None = None,
        fold: int = 1,
        train_list: str | None = None,
        test_list: str | None = None,
        columns: dict[str, str | int] | None = None,
        cache: str | Path | None = None,
        cache_gb: float = 20.0,
        max_bad: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        self._refuse_unless(layout in LAYOUTS, f"layout={layout!r}", f"one of {', '.join(LAYOUTS)}")
        self._refuse_unless(0 <= test < 1, f"test={test}", "a share from 0 to below 1")
        self._refuse_unless(fold in (1, 2, 3), f"fold={fold}", "1, 2 or 3")
        self._refuse_unless(0 <= max_bad <= 1, f"max_bad={max_bad}", "a share from 0 to 1")
        self._refuse_unless(workers is None or workers >= 1, f"workers={workers}", "at least 1, or none at all")
        self._refuse_unless(cache_gb > 0, f"cache_gb={cache_gb}", "a size above 0")
        window = frames if window is None else window
        several = (modalities,) if isinstance(modalities, str) else tuple(modalities)
        self.how = Cutting(several, frames, fps, window, canvas, rate, clips, motion)
        self.root, self.layout, self.fold = Path(root).expanduser(), layout, fold
        self.train_list, self.test_list, self.columns = train_list, test_list, columns
        self.test, self.workers, self.max_bad = test, workers or cores(), max_bad
        self.cache = None if cache is None else Path(cache).expanduser()
        self.cache_gb = cache_gb
        self._opencv = flow.check() if "flow" in several else None  # now, not in a worker for every file

    @property
    def classes(self) -> list[str]:
        return self._found.classes

    def open(self, split: Split) -> ClipFiles:
        listing = self._found.train if split == "train" else self._found.test
        number = 0 if listing is None else len(listing.names)
        self._refuse_unless(number > 0, f"an empty {split} set in {self.root}", "a larger share, or a list or folder")
        assert listing is not None
        how, workers = self.how, self.workers
        return ClipFiles(self.root, *listing, how, workers, self.max_bad, self._clip_cache, self._skip)

    @cached_property
    def _clip_cache(self) -> ClipCache | None:
        how = self.how
        if self.cache is None:
            return None
        rate = how.rate if "audio" in how.modalities else None
        settings = (_VERSION, av.__version__, self._opencv, self.root.resolve(), how.stored, how.fps, how.canvas, rate)
        return ClipCache(self.cache, (*settings, how.motion), round(self.cache_gb * 1e9))

    @cached_property
    def _found(self) -> Splits:
        """The classes, what there is to train on, what to test on."""
        found = splits(self.root, self.layout, self.fold, self.train_list, self.test_list, self.columns)
        train, test = (found.train, found.test) if found.test is not None else divide(found.train, self.test)
        return Splits(found.classes, train.take(chosen(len(train.names), self.limit)), test)
