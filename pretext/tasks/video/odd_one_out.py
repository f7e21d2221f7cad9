"""https://arxiv.org/abs/1611.06646 (Fernando et al.: O3N, CVPR 2017): which clip's frames are shuffled?"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import choices, film_strip, full_contrast, panels, stacked
from pretext.ops.temporal import shuffled_orders, take_frames

ENCODINGS = ("frames", "differences")
SHOWN = 6  # frames of a clip, in a drawing
OCTAVES = 2  # by which an equalised clip is at most fainter than it could be


class Odd(NamedTuple):
    """Which clip is the odd one, and which one a rule without any understanding would name."""

    slot: Tensor
    """(N,) int64"""
    busiest: Tensor
    """(N,) int64: the clip whose frames differ most from one to the next, by the mean of the absolute difference."""


class OddOneOut(Task):
    """Find, among several clips of one window, the one whose frames are shuffled.

    The clips may overlap, but no two begin at the same frame, or being unlike a twin would be enough. The odd one's
    frames are never in order, nor in reverse.

    Shuffled frames differ more from one to the next, so a rule that looks for nothing else ("the busiest clip is the
    odd one") answers 77 to 84 % of six-way questions of real videos. The score "by_motion" is that rule's, for the very
    same questions: what a network answers beyond it, it has understood. `equalise` takes the rule's ground away: every
    clip is drawn towards its own mean frame until all differ alike from frame to frame, and is then made fainter still
    by a factor of its own, 1/4 to 1, at random. What is left is that a shuffled clip strays less from its mean for as
    much change, which is what order is.

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
        equalise: make the clips of a question change alike from frame to frame; not in the paper.

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
        equalise: bool = False,
    ) -> None:
        super().__init__()
        reads_axes("thw", backbone, self)
        require(encoding in ENCODINGS, self, f"{encoding=}", 'choose "frames" or "differences"')
        least = "give at least 2 clips of 3 frames, or none is odd, and a width of at least 1"
        require(clips >= 2 and frames >= 3 and width >= 1, self, f"{clips=}, {frames=}, {width=}", least)
        self.clips, self.frames, self.encoding, self.equalise = clips, frames, encoding, equalise
        last = nn.Linear(width, 1, bias=False)  # a bias would be the same for every slot
        self.head = nn.Sequential(nn.Linear(2 * backbone.dim, width), nn.ReLU(), last)
        small(last)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut clips out of windows (N, C, W, H, W'), shuffle one of each; the answer is an `Odd`.

        The question is (N * clips, C, T, H, W') window by window, T being `frames`, or one fewer for differences.

        Raises:
            ValueError: `x` is no window of frames, or too short.

        """
        least = self.frames + self.clips - 1
        room = f"at least {least} frames, in which {self.clips} clips of {self.frames} can begin at different frames"
        how = "raise window in the data module, or lower clips or frames"
        require_input(x.ndim == 5 and x.shape[2] >= least, self, f"windows (N, C, frames, H, W) of {room}", x, how)
        uniform = torch.rand(len(x), x.shape[2] - self.frames + 1, generator=rng, device=x.device)
        starts = uniform.argsort(1)[:, : self.clips, None]
        odd = torch.randint(self.clips, (len(x),), generator=rng, device=x.device)
        is_odd = (torch.arange(self.clips, device=x.device) == odd[:, None])[..., None]
        straight = torch.arange(self.frames, device=x.device)
        order = torch.where(is_odd, shuffled_orders(len(x), self.frames, rng, x.device)[:, None], straight)
        frames = take_frames(x, (starts + order).flatten(1))  # (N, C, clips * T, H, W), clip by clip
        clips = frames.view(*frames.shape[:2], self.clips, -1, *x.shape[3:]).transpose(1, 2)
        if self.equalise:
            clips = equalised(clips, rng)
        answer, clips = Odd(odd, changes(clips).argmax(1)), clips.flatten(0, 1)
        return Puzzle(0.5 + clips.diff(dim=2) / 2 if self.encoding == "differences" else clips, answer)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Shuffle the frames of all clips, so that their order names none of them; the odd ones are shuffled already.

        (Shuffled once more they could be in order again, which the others cannot be.)
        """
        clips, odd = puzzle.question, puzzle.answer.slot
        if self.encoding == "differences":  # all frames but for what they share
            steps = 2 * clips.float() - 1
            clips = torch.cat((torch.zeros_like(steps[:, :, :1]), steps), 2).cumsum(2)
        is_odd = (torch.arange(self.clips, device=clips.device) == odd[:, None]).view(-1, 1)
        straight = torch.arange(self.frames, device=clips.device)
        order = torch.where(is_odd, straight, shuffled_orders(len(clips), self.frames, rng, clips.device))
        shuffled = take_frames(clips, order)
        if self.equalise:  # those that were in order change more now
            shuffled = equalised(shuffled.view(-1, self.clips, *shuffled.shape[1:]), rng).flatten(0, 1)
        if self.encoding == "differences":
            shuffled = 0.5 + shuffled.diff(dim=2) / 2
        return puzzle._replace(question=shuffled.to(puzzle.question.dtype))

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N, clips) over the slots."""
        mine = features.pooled.view(-1, self.clips, features.pooled.shape[1])
        others = (mine.sum(1, keepdim=True) - mine) / (self.clips - 1)
        logits: Tensor = self.head(torch.cat((mine, others), -1)).squeeze(-1)
        return logits

    def grade(self, prediction: Tensor, answer: Odd) -> Grade:
        """Score `accuracy`, and `by_motion`, which the busiest clip reaches as an answer to the same questions."""
        loss, scores = cross_entropy(prediction, answer.slot)
        return Grade(loss, scores | {"by_motion": (answer.busiest == answer.slot).float().mean()})

    def chance(self) -> Grade:
        loss, scores = blind_guess(self.clips)
        return Grade(loss, scores | {"by_motion": scores["accuracy"]})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw all clips, each a strip of its frames, then the odd one, then the one that the prediction names."""
        items = puzzle.question.view(-1, self.clips, *puzzle.question.shape[1:])
        shown = map(full_contrast, items) if self.encoding == "differences" else items
        strips = [[film_strip(clip, SHOWN) for clip in clips] for clips in shown]
        asked = panels(map(stacked, strips), "in which clip, from the top, are the frames shuffled?")
        puzzle = puzzle._replace(answer=puzzle.answer.slot)
        return choices(asked, puzzle, prediction, lambda i, k: strips[i][k], lambda k: f"clip {k + 1}")

    def extra_repr(self) -> str:
        return f"clips={self.clips}, frames={self.frames}, encoding={self.encoding!r}, equalise={self.equalise}"


def changes(clips: Tensor) -> Tensor:
    """Measure how much clips (N, K, C, T, H, W) change from frame to frame: mean absolute differences (N, K)."""
    return clips.diff(dim=3).abs().flatten(2).mean(2, dtype=torch.float32)


def equalised(clips: Tensor, rng: Generator) -> Tensor:
    """Draw clips (N, K, C, T, H, W) towards their mean frames until those of one item change alike, and some further.

    How much further is drawn for each clip, evenly in octaves. Values stay in [0, 1], as means do.
    """
    change = changes(clips)
    alike = torch.where(change > 0, change.amin(1, keepdim=True) / change.clamp(min=1e-12), 1.0)
    fainter = 2 ** (-OCTAVES * torch.rand(change.shape, generator=rng, device=clips.device))
    mean = clips.mean(3, keepdim=True)
    return mean + (alike * fainter)[..., None, None, None, None].to(clips.dtype) * (clips - mean)
