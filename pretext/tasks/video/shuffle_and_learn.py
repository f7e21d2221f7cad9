"""https://arxiv.org/abs/1603.08561 (Misra, Zitnick, Hebert: Shuffle and Learn, ECCV 2016): did it happen so?"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.heads import small
from pretext.ops.drawing import film_strip, panels, rows
from pretext.ops.geometric import uniform_to_int
from pretext.ops.temporal import frame_differences, swap_frames, take_frames

FIVE = 5  # moments a < b < c < d < e
TUPLE = 3


class ShuffleAndLearn(Task):
    """Tell whether three frames are in the order of time, forward or backward.

    Five moments a < b < c < d < e are drawn in the window. In order are (b, c, d) and (d, c, b); out of order are
    (b, a, d), (b, e, d) and their reverses. All have the same two ends, so the middle alone decides, and whether time
    runs forward never does.

    A frame a or e that looks like c would make a question without an answer. So several fives are drawn for each
    question. The task takes the first five in which a and e both differ enough from c. If there is none, it takes the
    five in which they differ most.
    The five is chosen before it is drawn whether it is asked in order, or how much moves would give the answer away.

    An image backbone sees the frames one by one and the head all three, as in the paper; a clip backbone sees them as
    a clip of three frames. (A `Frames` backbone averages over frames and cannot tell; take the one inside.) The bias
    begins at the shares of the two answers, so that the loss begins at its entropy.

    Args:
        backbone: reads frames or clips.
        span: the smallest and the largest d - b, frames of the window; larger asks about more motion, which the paper
            found to help. Its 15 to 60 frames of video are the default, for windows of 65 frames and more.
        apart: the least b - a and e - d, frames; larger is easier.
        positives: share of questions in order. Of a batch, as many as whole numbers allow.
        unlike: the least mean squared difference of a and of e from c, as a share of that of two frames of the window
            on average; 0 takes any.
        candidates: how many fives are drawn for each question.
        tuples: how many questions are asked of each window.
        hidden: width of a layer that the head has for image backbones; 0: none, as in the paper, where each frame can
            but vote by itself and is never compared with another.

    Raises:
        ValueError: the backbone reads neither frames nor clips, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        span: tuple[int, int] = (15, 60),
        apart: int = 2,
        positives: float = 0.25,
        unlike: float = 0.5,
        candidates: int = 8,
        tuples: int = 1,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        reads_axes("hw", backbone, self)
        span = (span[0], span[1])
        require(
            2 <= span[0] <= span[1] and apart >= 1,
            self,
            f"{span=}, {apart=}",
            "a span is (smallest, largest) with a frame in between, so at least 2, and apart at least 1",
        )
        wanted = "the first is a share between 0 and 1, the second 0 or more, such as 0.5"
        require(0 < positives < 1 and unlike >= 0, self, f"{positives=}, {unlike=}", wanted)
        got = f"{candidates=}, {tuples=}, {hidden=}"
        wanted = "give at least 1 of the first two, and 0 for no hidden layer"
        require(min(candidates, tuples) >= 1 and hidden >= 0, self, got, wanted)
        self.span, self.apart, self.positives = span, apart, positives
        self.unlike, self.candidates, self.tuples = unlike, candidates, tuples
        self.clips = "t" in backbone.axes
        inputs, inner = backbone.dim if self.clips else TUPLE * backbone.dim, 0 if self.clips else hidden
        last = nn.Linear(inner or inputs, 2)
        self.head = nn.Sequential(nn.Linear(inputs, inner), nn.ReLU(), last) if inner else nn.Sequential(last)
        small(last)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1 - positives, positives]).log())

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Draw tuples of windows (N, C, W, H, W'); the answer (N * tuples, 3) are their moments, window by window.

        The question is (N * tuples * 3, C, H, W') for an image backbone and (N * tuples, C, 3, H, W') for another.

        Raises:
            ValueError: `x` is no window of frames, or too short.

        """
        least, got = self.span[1] + 2 * self.apart + 1, f"span={self.span} and apart={self.apart}"
        wanted = f"windows (N, C, frames, H, W) of at least {least} frames for {got}"
        how = "raise window in the data module, or lower span or apart"
        require_input(x.ndim == 5 and x.shape[2] >= least, self, wanted, x, how)
        fives = self._fives(x, rng)
        draws, other, back = torch.rand(3, len(fives), generator=rng, device=x.device)
        rank = draws.argsort().argsort()  # the shares are kept, not only expected, so chance() is exact
        right = rank + torch.rand((), generator=rng, device=x.device) < self.positives * len(fives)
        a, b, c, d, e = fives.unbind(1)
        tuples = torch.stack((b, torch.where(right, c, torch.where(other < 0.5, a, e)), d), 1)
        tuples = torch.where(back[:, None] < 0.5, tuples.flip(1), tuples)
        frames = take_frames(x, tuples.view(len(x), -1)).transpose(1, 2)  # (N, tuples * 3, C, H, W')
        frames = frames.reshape(-1, *frames.shape[2:])
        return Puzzle(_clips(frames) if self.clips else frames, tuples)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put frames of other windows in the places of a tuple's own, of those at hand the nearest to its moments."""
        asked, moments = puzzle.question, puzzle.answer
        frames = asked.transpose(1, 2) if self.clips else asked.unflatten(0, (-1, TUPLE))
        windows = torch.arange(len(moments), device=moments.device) // self.tuples
        swapped = swap_frames(frames, moments, windows, rng)
        return puzzle._replace(question=swapped.transpose(1, 2) if self.clips else swapped.flatten(0, 1))

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N * tuples, 2): out of order, in order."""
        vectors = features.pooled if self.clips else features.pooled.view(-1, TUPLE * features.pooled.shape[1])
        logits: Tensor = self.head(vectors)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        """Score `balanced_accuracy`, the mean of both answers' shares of right ones; 0.5 where one is never right."""
        labels = in_order(answer).long()
        are = torch.stack((1 - labels, labels), 1).float()
        right = (prediction.detach().argmax(1) == labels).float()
        balanced = (right @ are / are.sum(0)).mean().nan_to_num(0.5)  # 0 / 0 where an answer is missing
        return Grade(functional.cross_entropy(prediction.float(), labels), {"balanced_accuracy": balanced})

    def chance(self) -> Grade:
        p = self.positives
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        return Grade(torch.tensor(entropy), {"balanced_accuracy": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the three frames as asked, then as they followed each other, then what the prediction says of them."""
        clips = puzzle.question if self.clips else _clips(puzzle.question)
        names, moments = ("not in order", "in order"), puzzle.answer
        labels = in_order(moments).long()
        answers = zip((moments + 1).tolist(), labels.tolist(), strict=True)
        captions = [f"answer: frames {', '.join(map(str, m))}, {names[label]}; here sorted" for m, label in answers]
        ordered = [film_strip(clip[:, order]) for clip, order in zip(clips, moments.argsort(1), strict=True)]
        asked = [film_strip(clip) for clip in clips]
        columns = [panels(asked, "in order, forward or backward?"), panels(ordered, captions)]
        if prediction is not None:
            guesses = prediction.argmax(1)
            captions = [f"prediction: {names[guess]}" for guess in guesses.tolist()]
            columns.append(panels(asked, captions, guesses == labels))
        return rows(*columns)

    def extra_repr(self) -> str:
        return (
            f"span={self.span}, apart={self.apart}, positives={self.positives}, unlike={self.unlike}, "
            f"candidates={self.candidates}, tuples={self.tuples}"
        )

    def _fives(self, x: Tensor, rng: Generator) -> Tensor:
        """Choose the moments of every question, (N * tuples, 5), whatever its answer will be."""
        drawn = self._candidates(len(x) * self.tuples, x.shape[2], rng, x.device)
        item = torch.arange(len(x), device=x.device).repeat_interleave(self.tuples)[:, None]
        differs, (a, c, e) = frame_differences(x), drawn[..., ::2].unbind(-1)
        least = torch.minimum(differs[item, c, a], differs[item, c, e])  # (N * tuples, candidates)
        fine = least >= self.unlike
        chosen = torch.where(fine.any(1), fine.int().argmax(1), least.argmax(1))
        return drawn[torch.arange(len(drawn), device=x.device), chosen]

    def _candidates(self, n: int, window: int, rng: Generator, device: torch.device) -> Tensor:
        """Draw fives in windows: (n, candidates, 5), as likely as they would be were time turned round."""
        u = torch.rand(FIVE, n, self.candidates, generator=rng, device=device)
        low, high = self.span
        span = low + uniform_to_int(u[0], high - low + 1)
        b = self.apart + uniform_to_int(u[1], window - 2 * self.apart - span)
        c, d = b + 1 + uniform_to_int(u[2], span - 1), b + span
        a, e = uniform_to_int(u[3], b - self.apart + 1), d + self.apart + uniform_to_int(u[4], window - d - self.apart)
        return torch.stack((a, b, c, d, e), -1)


def in_order(moments: Tensor) -> Tensor:
    """Tell of moments (M, 3) whether the second lies between the others: (M,) bool."""
    return (moments[:, 1] - moments[:, 0]) * (moments[:, 2] - moments[:, 1]) > 0


def _clips(frames: Tensor) -> Tensor:
    """Join the frames (M * 3, C, H, W) of tuples to clips (M, C, 3, H, W)."""
    return frames.view(-1, TUPLE, *frames.shape[1:]).transpose(1, 2)
