"""What is cut out of videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from datamodules.decoder import Parts
from datamodules.errors import require
from datamodules.loader import Pick
from datamodules.options import Sampling
from datamodules.videos.flow import SMALLEST

Modality = Literal["rgb", "grey", "flow", "audio"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
CHANNELS = {"rgb": 3, "grey": 1, "flow": 2}


@dataclass(frozen=True)
class Windows:
    """When windows of videos begin and how long they are.

    Args:
        frames: frames of a clip, as `ordered` yields them.
        fps: frames per second of a clip, whatever the files have.
        window: frames of a window in training, validation and test, if more than a clip: tasks then draw their clips,
            later moments or misaligned sound from it.
        motion: draw training windows with probability proportional to the motion in them (mean absolute difference
            of successive grey pictures) instead of uniformly. The whole of each video is decoded for it, once per
            process and video, or once for all with a cache; far more than the window itself of long videos.

    """

    frames: int = 16
    fps: float = 12.5
    window: int | None = None
    motion: bool = False


WINDOWS = Windows()
"""The group with nothing but defaults."""


@dataclass(frozen=True)
class Cutting:
    """What is cut out of videos."""

    modalities: tuple[str, ...]
    frames: int
    fps: float
    window: int
    canvas: int
    rate: int
    clips: int
    motion: bool

    @classmethod
    def of(cls, modalities: tuple[str, ...], canvas: int, windows: Windows, sampling: Sampling) -> Cutting:
        """Put the options of a data module together."""
        window = windows.frames if windows.window is None else windows.window
        rate, clips = sampling.rate, sampling.clips
        return cls(modalities, windows.frames, windows.fps, window, canvas, rate, clips, windows.motion)

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        wrong = [name for name in self.modalities if name not in MODALITIES]
        sound = self.modalities and not wrong and len(set(self.modalities)) == len(self.modalities)
        require(owner, bool(sound), f"modalities={list(self.modalities)}", f"some of {list(MODALITIES)}, each once")
        for name in ("frames", "canvas", "rate", "clips"):
            require(owner, getattr(self, name) >= 1, f"{name}={getattr(self, name)}", "at least 1")
        require(owner, 0 < self.fps <= self.rate, f"fps={self.fps:g}", f"above 0 and at most rate={self.rate}")
        require(owner, self.window >= self.frames, f"window={self.window}", f"frames={self.frames} or more, or none")
        small = "flow" in self.modalities and self.canvas < SMALLEST
        require(owner, not small, f"canvas={self.canvas}", f"{SMALLEST} pixels or more for flow")

    @property
    def margin(self) -> int:
        """Frames that are needed before and after a window."""
        return int("flow" in self.modalities)

    @property
    def stored(self) -> tuple[str, ...]:
        """The modalities to keep, all but those that follow from others."""
        return tuple(name for name in self.modalities if name != "grey" or "rgb" not in self.modalities)

    def length(self, pick: Pick) -> int:
        """Count the frames of a window, which a pick begins."""
        return self.frames if pick == "spread" else self.window

    def samples(self, frames: int) -> int:
        """Count the samples of sound that so many frames take."""
        return round(frames * self.rate / self.fps)

    def blank(self, n: int, frames: int) -> Parts:
        """Make room for a batch: pictures (n, C, frames, S, S), "audio" (n, 1, L)."""
        return {name: self._room(name, n, frames) for name in self.modalities}

    def _room(self, name: str, n: int, frames: int) -> NDArray[Any]:
        if name == "audio":
            return np.empty((n, 1, self.samples(frames)), np.int16)
        return np.empty((n, CHANNELS[name], frames, self.canvas, self.canvas), np.uint8)
