"""https://arxiv.org/abs/1611.06646 (Fernando et al.: O3N, CVPR 2017): which clip's frames are shuffled?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, axis
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import GAP, film
from pretext.ops.temporal import take

SHOWN = 6  # frames of a clip, in a drawing


class OddOneOut(Task):
    """Find, among several clips of one window, the one whose frames are shuffled.

    The clips may overlap, but no two begin at the same frame, or being unlike a twin would be enough. The odd one's
    frames are never in order, nor in reverse.

    The paper's best code of a clip is the stack of its frames' differences; 0 is then mid-grey, so that it still is a
    picture in [0, 1].

    The paper joins the clips' features and classifies their slots. Here every clip is scored by one small network that
    sees its features and the mean of the others', so that exchanging two slots exchanges their scores, whatever it has
    learnt, and no slot has to be learnt by itself.

    Args:
        backbone: reads clips, and must see the order of frames: one that averages over them cannot.
        clips: how many, the odd one among them.
        frames: of each.
        encoding: what the backbone sees of a clip: its "frames" or the "differences" of neighbours, one fewer.
        width: of the head's hidden layer.

    Raises:
        ValueError: the backbone does not read clips, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        clips: int = 6,
        frames: int = 6,
        encoding: Literal["frames", "differences"] = "frames",
        width: int = 256,
    ) -> None:
        super().__init__()
        for letter in "thw":
            axis(letter, backbone, self)
        if encoding not in ("frames", "differences"):
            raise ValueError(f'OddOneOut: encoding is {encoding!r}; choose "frames" or "differences"')
        if clips < 2 or frames < 3 or width < 1:
            raise ValueError(
                f"OddOneOut: clips={clips}, frames={frames}, width={width}; give at least 2 clips of 3 frames, or none "
                "is odd, and a width of at least 1"
            )
        self.clips, self.frames, self.encoding = clips, frames, encoding
        last = nn.Linear(width, 1, bias=False)  # a bias would be the same for every slot
        self.head = nn.Sequential(nn.Linear(2 * backbone.dim, width), nn.ReLU(), last)
        nn.init.normal_(last.weight, std=0.01)  # starts at a blind guess, and still passes gradients on

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut clips out of windows (N, C, W, H, W'), shuffle one of each; the answer (N,) is its slot.

        The question is (N * clips, C, T, H, W') window by window, T being `frames`, or one fewer for differences.

        Raises:
            ValueError: `x` is no window of frames, or too short.

        """
        self._fits(x)
        chance = torch.rand(len(x), x.shape[2] - self.frames + 1, generator=rng, device=x.device)
        starts = chance.argsort(1)[:, : self.clips, None]
        odd = torch.randint(self.clips, (len(x),), generator=rng, device=x.device)
        is_odd = (torch.arange(self.clips, device=x.device) == odd[:, None])[..., None]
        straight = torch.arange(self.frames, device=x.device)
        order = torch.where(is_odd, shuffles(len(x), self.frames, rng, x.device)[:, None], straight)
        clips = _clips(take(x, (starts + order).flatten(1)), self.clips)
        if self.encoding == "differences":
            clips = 0.5 + clips.diff(dim=2) / 2
        return Puzzle(clips, odd)

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N, clips) over the slots."""
        mine = features.pooled.view(-1, self.clips, features.pooled.shape[1])
        others = (mine.sum(1, keepdim=True) - mine) / (self.clips - 1)
        logits: Tensor = self.head(torch.cat((mine, others), -1)).squeeze(-1)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(self.clips)

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw all clips, each a strip of its frames, then the odd one, then the one that the prediction names."""
        guesses = [None] * len(puzzle.answer) if prediction is None else prediction.argmax(1).tolist()
        items = puzzle.question.view(-1, self.clips, *puzzle.question.shape[1:])
        rows = []
        for clips, odd, guess in zip(items, puzzle.answer.tolist(), guesses, strict=True):
            strips = [film(clip, SHOWN) for clip in (_clear(clips) if self.encoding == "differences" else clips)]
            white = strips[0].new_ones(3, GAP, strips[0].shape[2])
            pile = torch.cat([part for strip in strips for part in (strip, white)][:-1], 1)
            row = [
                Panel(pile, "in which clip, from the top, are the frames shuffled?"),
                Panel(strips[odd], f"answer: clip {odd + 1}"),
            ]
            if guess is not None:
                row.append(Panel(strips[guess], f"prediction: clip {guess + 1}", guess == odd))
            rows.append(row)
        return rows

    def extra_repr(self) -> str:
        return f"clips={self.clips}, frames={self.frames}, encoding={self.encoding!r}"

    def _fits(self, x: Tensor) -> None:
        needed = self.frames + self.clips - 1
        if x.ndim != 5 or x.shape[2] < needed:
            raise ValueError(
                f"OddOneOut wants windows (N, C, frames, H, W) of at least {needed} frames, in which {self.clips} clips"
                f" of {self.frames} can begin at different frames, got {tuple(x.shape)}; raise window in the data "
                "module, or lower clips or frames"
            )


def _clips(x: Tensor, clips: int) -> Tensor:
    """Part (N, C, clips * T, H, W), clip by clip, into (N * clips, C, T, H, W)."""
    items, channels, _, height, width = x.shape
    return x.view(items, channels, clips, -1, height, width).transpose(1, 2).flatten(0, 1)


def _clear(differences: Tensor) -> Tensor:
    """Give the differences of a question's clips full contrast, or nobody could see them."""
    signed = differences.float() - 0.5
    return 0.5 + 0.5 * signed / signed.abs().max().clamp(min=1e-6)


def shuffles(n: int, frames: int, rng: Generator, device: torch.device) -> Tensor:
    """Draw orders (n, frames) that are neither sorted nor reversed: these two are moved on by one place instead."""
    order = torch.rand(n, frames, generator=rng, device=device).argsort(1)
    steps = order.diff(dim=1)
    monotone = (steps == 1).all(1, keepdim=True) | (steps == -1).all(1, keepdim=True)
    return torch.where(monotone, order.roll(1, 1), order)
