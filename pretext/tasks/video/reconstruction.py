"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): what was seen, or heard?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.decoder import Blind, Decoder, blind_picture, clip_rows, decode, relative_errors, shrink, stage_of
from pretext.ops.drawing import film_strip, panels, spectrogram
from pretext.ops.mel import LogMel
from pretext.ops.temporal import random_clip


class Reconstruction(Task):
    """Draw what the backbone itself was shown: a clip, frame by frame, or the log-mel picture of a sound.

    A decoder (`pretext.nn.decoder.Decoder`) draws pictures that are reduced by `shrink` from a stage, whose
    few numbers are what makes it an exam. The loss is the squared error over that of a blind guess, which knows the
    batch's mean: 1 for it, below where something is known.

    Args:
        backbone: reads clips or sound.
        frames: of clips, how many of each window, from anywhere in it; none: the whole window, as of sound always.
        channels: of clips: 3 for RGB, 2 for flow, 1 for grey, which sound always has.
        shrink: how many times smaller than the clips, or than the log-mel picture, the drawn pictures are.
        width: of the decoder.
        stage: name of the one that the decoder reads; a shallower one keeps more detail, and what lies deeper learns
            nothing here; none: the deepest.
        mel: of sound, makes the picture; none: `LogMel` as it is, for 16 kHz.

    Raises:
        ValueError: the backbone reads neither, a number is out of its range, or an option is of the other kind.

    """

    def __init__(
        self,
        backbone: Backbone,
        frames: int | None = None,
        channels: int = 3,
        shrink: int = 2,
        width: int = 64,
        stage: str | None = None,
        mel: LogMel | None = None,
    ) -> None:
        super().__init__()
        reads_axes("t", backbone, self)
        self.sound = backbone.axes == "t"
        fits = min(shrink, channels, frames or 1) >= 1 and frames != 0
        least = "give at least 1 of each, or no frames for the whole window"
        require(fits, self, f"{frames=}, {channels=}, {shrink=}", least)
        require(frames is None or not self.sound, self, f"{frames=} belongs to clips", "of sound leave it out")
        require(mel is None or self.sound, self, "mel belongs to sound", "for clips leave it out")
        self.frames, self.channels, self.shrink = frames, 1 if self.sound else channels, shrink
        self.mel = (LogMel() if mel is None else mel) if self.sound else None
        self.stage, depth = stage_of(backbone, stage, self)
        self.decoder = Decoder(depth, self.channels, width)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask for clips out of windows (N, C, W, H, W), or for waveforms (N, 1, L); given is a blind guess.

        Raises:
            ValueError: `x` is neither, has other channels, or too few frames.

        """
        wanted = "waveforms (N, 1, L)" if self.sound else f"clips (N, {self.channels}, W, H, W)"
        fits = x.ndim == (3 if self.sound else 5) and x.shape[1] == self.channels
        how = "set channels to what the clips have, or choose another backbone"
        require_input(fits, self, wanted, x, how)
        asked = x if self.frames is None else random_clip(self, x, self.frames, rng)
        # A sound's picture is a clip of one frame.
        pictures = asked if self.mel is None else self.mel(asked).unsqueeze(2)
        answer = shrink(pictures, self.shrink)
        return Puzzle(asked, answer, blind_picture(answer))

    def solve(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, C, T, h, w), or (N, 1, 1, bands, moments) of sound, in float32."""
        map_ = features.stages[self.stage]
        if self.sound and map_.ndim == 3:
            map_ = map_.unsqueeze(2)  # a map without pitch
        return decode(self.decoder(map_, *given.picture.shape[2:]), given)

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return Grade(relative_errors(prediction, answer).mean(), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip, the same reduced, and what was predicted; of sound, spectra with the low pitch at the bottom.

        All pictures of a sound have one scale, from the softest to the loudest of the answers.
        """
        true = puzzle.answer.detach().float()
        low, range_ = (0.0, 1.0) if not self.sound else (true.min(), (true.max() - true.min()).clamp(min=1e-6))

        def show(picture: Tensor, scale: Tensor | None = None) -> Tensor:
            return film_strip((picture.float().flip(-2) - low) / range_ if self.sound else picture, scale=scale)

        look, what = (spectrogram, "what did it sound like?") if self.sound else (film_strip, "what did it look like?")
        asked = panels(map(look, puzzle.question), what)
        return clip_rows(asked, true, None if prediction is None else prediction.detach(), show)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, channels={self.channels}, shrink={self.shrink}"
