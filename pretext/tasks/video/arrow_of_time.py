"""Wei et al.: Learning and Using the Arrow of Time, CVPR 2018: does time run forward or backward?

https://openaccess.thecvf.com/content_cvpr_2018/papers/Wei_Learning_and_Using_CVPR_2018_paper.pdf
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import choices, film_strip, panels, spectrogram
from pretext.ops.temporal import cut_clips, random_starts, reverse, swap_moments, without_ends

NAMES = ("forward", "backward")
ENDS = 0.3  # of a sound, at either end: where recordings that were cut to one sound rise and die away
SOUND = 3  # dimensions of waveforms


class ArrowOfTime(Task):
    """Tell whether a clip or a sound is played forward or backward.

    The flow of a backward clip is not the clip's flow negated, nor its frames in reverse order, but both, and that is
    exact only for flow that treats past and future alike. Such is ours: at each frame half of what moves to the next
    frame less half of what moves to the one before (`pretext.ops.temporal.reverse`). Computed anew on the reversed
    frames it comes out the same, bit for bit.

    Whatever has a direction by convention gives the answer away without any understanding of motion: cameras zoom in
    more often than out, and coded video has a direction as well. Look at what is drawn before you believe a score.

    So has a recording that was cut to one sound, such as a word: it begins at once and dies away. Of words cut out of
    speech, a linear read-out of nothing but loudness and zero crossings over time tells 72 %, and 50 % where three
    tenths of each are left out at both ends (benchmarks/arrow.py). So sounds lose as much by default (`trim`). What
    remains is asked: how the sound itself goes on.

    The head is one linear layer on the pooled features.

    A `Frames` backbone averages over frames and so cannot tell; take one that sees motion.

    Args:
        backbone: reads clips of frames or flow, or sound.
        frames: length of the clip, drawn anywhere in the window: frames, or samples of sound; none: all of it.
        directions: "both" asks each clip forward and backward, N clips being 2 N questions; "one" draws one of them.
        trim: share of each sound, without the silence around it, that is silenced at either end before a clip is drawn;
            none: 0.3 of sounds. Clips of frames have no such ends: 0.

    Raises:
        ValueError: the backbone reads neither clips nor sound, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        frames: int | None = None,
        directions: Literal["both", "one"] = "both",
        trim: float | None = None,
    ) -> None:
        super().__init__()
        reads_axes("t", backbone, self)
        require(directions in ("both", "one"), self, f"{directions=}", 'choose "both" of each clip, or "one" drawn')
        require(frames is None or frames >= 2, self, f"{frames=}", "give at least 2, or none for the whole window")
        self.dims = 2 + len(backbone.axes)
        sound = self.dims == SOUND
        fits = trim is None or trim == 0 or (sound and 0 < trim < 0.5)
        require(fits, self, f"{trim=}", "give a share of a sound's length from 0 to below 0.5, and of frames 0 or none")
        self.frames, self.directions, self.trim = frames, directions, ENDS * sound if trim is None else trim
        self.head = small(nn.Linear(backbone.dim, len(NAMES)))

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Turn windows (N, C, W, H, W') or waveforms (N, 1, L) to clips, forward (0) or backward (1).

        For both directions the question is (2 N, C, frames, ...), clip by clip.

        Raises:
            ValueError: `x` is not of the backbone's kind, or too short.

        """
        kind = "windows (N, C, frames, H, W)" if self.dims == 5 else "waveforms (N, 1, samples)"
        least, how = self.frames or 2, "raise window in the data module, or lower frames"
        require_input(x.ndim == self.dims and x.shape[2] >= least, self, f"{kind} of at least {least}", x, how)
        if self.trim:
            x = without_ends(x, self.trim)
        if self.frames is not None:
            x = cut_clips(x, random_starts(len(x), x.shape[2], self.frames, rng), self.frames)
        if self.directions == "both":
            return Puzzle(_both(x).flatten(0, 1), torch.arange(2, device=x.device).repeat(len(x)))
        labels = torch.randint(2, (len(x),), generator=rng, device=x.device)
        return Puzzle(_both(x)[torch.arange(len(x), device=x.device), labels], labels)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put other items' frames, or sixteenths of their sounds, in the places of a clip's own, run the same way."""
        asked, labels = puzzle.question, puzzle.answer
        forward = _both(asked)[torch.arange(len(asked), device=asked.device), labels]
        if self.directions == "both":
            return puzzle._replace(question=_both(swap_moments(forward[::2], rng)).flatten(0, 1))
        swapped = _both(swap_moments(forward, rng))
        return puzzle._replace(question=swapped[torch.arange(len(asked), device=asked.device), labels])

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits over forward and backward."""
        logits: Tensor = self.head(features.pooled)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(len(NAMES))

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip as it is asked, as it was recorded, and as the prediction would have it recorded."""
        ways = [(_shown(asked), _shown(reverse(asked[None])[0])) for asked in puzzle.question]
        asked = panels((way[0] for way in ways), "forward or backward?")
        note = "; so it was recorded"
        return choices(asked, puzzle, prediction, lambda i, k: ways[i][k], lambda k: NAMES[k], note)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, directions={self.directions!r}, trim={self.trim:g}"


def _both(x: Tensor) -> Tensor:
    """Play clips both ways: (N, 2, C, frames, ...), as they are and reversed."""
    return torch.stack((x, reverse(x)), 1)


def _shown(clip: Tensor) -> Tensor:
    return spectrogram(clip) if clip.ndim == 2 else film_strip(clip, 6)
