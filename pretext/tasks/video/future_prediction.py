"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): which frames come next?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.decoder import DULL, Blind, Decoder, blind_picture, clip_rows, decode, relative_errors, shrink, stage_of
from pretext.ops.drawing import film_strip, panels
from pretext.ops.temporal import FLOW_CHANNELS, random_clip, swap_moments

AHEAD = 1  # frames that central flow looks ahead


class Future(NamedTuple):
    """What came, and what it is compared with."""

    frames: Tensor
    """(N, C, future, h, w)"""
    last: Tensor
    """(N, C, 1, h, w): the last frame that was seen."""


class FuturePrediction(Task):
    """Draw the frames that follow a clip.

    The backbone sees `frames` frames from anywhere in the window. A decoder (`pretext.nn.decoder.Decoder`) draws the
    next `future` frames, reduced by `shrink`, from the last slice of a stage, which lies nearest to them.

    Flow is central: its frame holds half of the motion to the next one. So the last flow that is seen shows half of
    the first that follows, and between the two one frame is left out (`skip`).

    The loss is the squared error over that of a blind guess, which knows the batch's mean colour: 1 for it, below where
    something is known. Most of a scene stays as it is, so the score "copy" tells the error over that of the better one
    of two guesses that understand no motion: to repeat the last frame, or the batch's mean. Below 1 something of the
    motion is understood. It starts far above, and has no constant for a blind guess; `chance()` gives that of copying.

    Args:
        backbone: reads clips.
        frames: how many are seen.
        future: how many are asked for.
        channels: of the clips: 3 for RGB, 2 for flow, 1 for grey.
        shrink: how many times smaller than the clips the drawn frames are.
        width: of the decoder.
        stage: name of the one that the decoder reads; a shallower one keeps more detail, and what lies deeper learns
            nothing here; none: the deepest.
        skip: how many frames are left out between those seen and those asked for; none: 1 for flow, else 0.

    Raises:
        ValueError: the backbone does not read clips, or a number is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        frames: int = 8,
        future: int = 4,
        channels: int = 3,
        shrink: int = 2,
        width: int = 64,
        stage: str | None = None,
        skip: int | None = None,
    ) -> None:
        super().__init__()
        reads_axes("thw", backbone, self)
        got = f"{frames=}, {future=}, {channels=}, {shrink=}"
        require(min(frames, future, channels, shrink) >= 1, self, got, "give at least 1 of each")
        require(skip is None or skip >= 0, self, f"{skip=}", "leave out 0 or more frames, or give none")
        self.skip = AHEAD * (channels == FLOW_CHANNELS) if skip is None else skip
        self.frames, self.future, self.channels, self.shrink = frames, future, channels, shrink
        self.stage, depth = stage_of(backbone, stage, self)
        self.decoder = Decoder(depth, channels, width, places=future)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut what is seen and what follows out of windows (N, C, W, H, W); given is a blind guess.

        Raises:
            ValueError: `x` has other channels, or too few frames.

        """
        length = self.frames + self.skip + self.future
        fits, kind = x.ndim == 5 and x.shape[1] == self.channels, f"clips (N, {self.channels}, W, H, W)"
        require_input(fits, self, kind, x, "set channels to what the clips have")
        parts = f"frames={self.frames}, skip={self.skip} and future={self.future}"
        got = f"{parts} take windows of {length} frames, got {x.shape[2]}"
        require(x.shape[2] >= length, self, got, "raise window in the data module, or lower them")
        both = random_clip(self, x, length, rng)
        small = shrink(
            torch.cat((both[:, :, self.frames - 1 : self.frames], both[:, :, -self.future :]), 2), self.shrink
        )
        answer = Future(small[:, :, 1:].contiguous(), small[:, :, :1].contiguous())
        return Puzzle(both[:, :, : self.frames].contiguous(), answer, blind_picture(answer.frames))

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Show frames of other items in the places of those before the ones that are asked for."""
        return puzzle._replace(question=swap_moments(puzzle.question, rng))

    def solve(self, features: Features, given: Blind) -> Tensor:
        """Draw (N, C, future, h, w), in float32."""
        map_ = features.stages[self.stage]
        newest = map_[:, :, -1:] if map_.ndim == 5 else map_  # some maps have no axis of time
        return decode(self.decoder(newest, *given.picture.shape[2:]), given)

    def grade(self, prediction: Tensor, answer: Future) -> Grade:
        """Score the loss and `copy`, which counts less than a grey level of motion as one."""
        said, true, last = prediction.detach().float(), answer.frames.float(), answer.last.float()
        mean = true.mean((0, 2, 3, 4), keepdim=True)
        simple = torch.minimum((last - true).square().mean(), (mean - true).square().mean()).clamp(min=DULL)
        copy = (said - true).square().mean() / simple
        return Grade(relative_errors(prediction, answer.frames).mean(), {"copy": copy})

    def chance(self) -> Grade:
        """Return what the batch's mean costs, and what copying scores."""
        return Grade(torch.tensor(1.0), {"copy": torch.tensor(1.0)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip, the frames that follow and those that were predicted, as strips of up to four."""
        return clip_rows(panels(map(film_strip, puzzle.question), "what comes next?"), puzzle.answer.frames, prediction)

    def extra_repr(self) -> str:
        asked = f"frames={self.frames}, skip={self.skip}, future={self.future}"
        return f"{asked}, channels={self.channels}, shrink={self.shrink}"
