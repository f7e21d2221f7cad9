"""https://arxiv.org/abs/1708.01246 (Lee et al.: OPN, ICCV 2017; of clips Xu et al.: VCOP, CVPR 2019): which order?"""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_axes
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import film_strip, panels, rows, stacked, thumbnail
from pretext.ops.geometric import uniform_to_int, wandering
from pretext.ops.temporal import cut_clips
from pretext.ops.tiles import restore_order, swap_places

MOST = 6  # pieces: 720 orders
Grouping = Literal["slots", "time"]
GROUPINGS = ("slots", "time")
READ = {"slots": "its slots read backward", "time": "time reversed"}


class ClipOrder(Task):
    """Tell in which order pieces of a window are shown.

    OPN is `pieces=4, frames=1, channel_splitting=True, jitter=5` with an image backbone: four frames, whose 24 orders
    are 12 answers, since single frames hardly tell whether time runs forward. VCOP is `pieces=3, frames=16, gap=8,
    least_gap=8, jitter=8, dropout=0.5` on pictures of 128 px: three clips in one of six orders
    (configs/video/vcop.yaml). With a backbone for sound, pieces are of samples.

    Which two orders count as one is a choice (`grouping`). "slots", as in the authors' code of OPN, joins an order with
    the one that its slots make when they are read backward: 1 2 4 3 with 3 4 2 1. "time" joins it with the order of
    the same pieces if time ran backward: 1 2 4 3 with 4 3 1 2. Only the second is the same question to somebody who
    cannot tell the direction of time. Twelve orders of four can stand for all classes of both; of the other twelve, 8
    belong to another class by the other grouping.

    The pieces lie in the window one after the other, with a gap in between of a random length, or what continues from
    the end of one to the start of the next would be enough; and they begin anywhere. Every piece is seen by itself;
    the head compares the features of every two of them by one layer for all pairs, and from all pairs reads the order.

    Args:
        backbone: reads frames, clips or sound.
        pieces: how many, 2 to 6.
        frames: length of each; samples of sound; 1 for an image backbone.
        gap: the largest distance of two neighbours, frames or samples.
        reversible: count two orders as one, each of which is then shown half of the time. None: for image backbones
            alone.
        channel_splitting: show each piece in one of its colour channels, drawn by itself, so that colours that drift
            tell nothing.
        jitter: how far each piece wanders from the middle of the picture, pixels. The picture is cropped by it on every
            side, so that no border tells.
        width: of the layer that compares two pieces.
        grouping: which two orders count as one where they are `reversible`.
        least_gap: the smallest distance of two neighbours; `gap`: none is drawn, as in VCOP; none: half of it.
        dropout: share of what the last layer reads that is dropped in training.

    Attributes:
        table: (K, pieces) int64, a buffer: under answer k, slot s shows piece `table[k][s]`. Where reversible, half of
            the questions show the order that counts as the same.

    Raises:
        ValueError: the backbone has none of these axes, or an argument is out of its range or does not suit it.

    """

    table: Tensor
    pairs: Tensor

    def __init__(
        self,
        backbone: Backbone,
        pieces: int = 3,
        frames: int = 8,
        gap: int = 4,
        reversible: bool | None = None,
        channel_splitting: bool = False,
        jitter: int = 0,
        width: int = 512,
        grouping: Grouping = "slots",
        least_gap: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        axes = backbone.axes
        reads_axes("t" if axes == "t" else "hw", backbone, self)
        self.reversible = "t" not in axes if reversible is None else reversible
        got = f"pieces={pieces}, reversible={self.reversible}"
        wanted = f"give 2 to {MOST} pieces, or from 3 where the direction of time does not count"
        require(2 + self.reversible <= pieces <= MOST, self, got, wanted)
        require(
            min(frames, width) >= 1 and min(gap, jitter) >= 0,
            self,
            f"{frames=}, {gap=}, {jitter=}, {width=}",
            "give at least 1 of frames and width, and 0 or more of the others",
        )
        require(grouping in GROUPINGS, self, f"{grouping=}", 'join orders by "slots" or by "time"')
        got = f"{least_gap=}, {gap=}, {dropout=}"
        wanted = "give a least gap of 0 to gap, or none, and drop a share of 0 up to, not including, 1"
        self.least_gap = (gap + 1) // 2 if least_gap is None else least_gap
        require(0 <= self.least_gap <= gap and 0 <= dropout < 1, self, got, wanted)
        got = f"{frames=}, but the backbone reads images"
        require("t" in axes or frames == 1, self, got, "give frames=1, or wrap it in Frames")
        got = f"{channel_splitting=}, {jitter=}, but the backbone reads sound, which has neither colours nor pixels"
        require(axes != "t" or not (channel_splitting or jitter), self, got, "leave them off")
        self.pieces, self.frames, self.gap, self.grouping = pieces, frames, gap, grouping
        self.channel_splitting, self.jitter, self.axes = channel_splitting, jitter, axes
        self.register_buffer("table", orders(pieces, grouping if self.reversible else None))
        self.register_buffer("pairs", torch.tensor(list(combinations(range(pieces), 2))))
        self.each = nn.Sequential(nn.Linear(2 * backbone.dim, width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.together = small(nn.Linear(len(self.pairs) * width, len(self.table)))

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Shuffle pieces of windows (N, C, W, H, W') or waveforms (N, 1, L); the answer (N,) is a row of `table`.

        The question is (N * pieces, C, frames, ...) window by window, without the dimension of frames for images.

        Raises:
            ValueError: `x` is not of the backbone's kind, too short, too small for the jitter or without colours to
                split.

        """
        self._fits(x)
        labels = torch.randint(len(self.table), (len(x),), generator=rng, device=x.device)
        shown = self.table[labels]
        if self.reversible:
            back = torch.rand(len(x), 1, generator=rng, device=x.device) < 0.5
            shown = torch.where(back, twin(shown, self.grouping), shown)
        pieces = cut_clips(x, self._starts(len(x), x.shape[2], rng, x.device).gather(1, shown), self.frames)
        if self.jitter:
            pieces = wandering(pieces, self.jitter, rng)
        if self.channel_splitting:
            channel = torch.randint(3, (len(pieces),), generator=rng, device=x.device)
            pieces = pieces[torch.arange(len(pieces), device=x.device), channel].unsqueeze(1).repeat(1, 3, 1, 1, 1)
        return Puzzle(pieces if "t" in self.axes else pieces.squeeze(2), labels)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle | None:
        """Put other windows' pieces in the places of a window's own, each as late in its window as the one it replaces.

        Where the order is `reversible` there is none: which of the two orders is shown, the puzzle does not say.
        """
        if self.reversible:
            return None
        order = self.table[puzzle.answer]
        sorted_ = restore_order(puzzle.question.unflatten(0, (-1, self.pieces)), order)
        items = torch.arange(len(order), device=order.device)[:, None]
        return puzzle._replace(question=swap_places(sorted_, rng)[items, order].flatten(0, 1))

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N, K) from the features of all pieces."""
        pieces = features.pooled.view(-1, self.pieces, features.pooled.shape[1])
        pairs = self.dropout(self.each(pieces[:, self.pairs].flatten(2)).flatten(1))
        logits: Tensor = self.together(pairs)
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(len(self.table))

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the pieces as they are shown, in their true order, and in the order that the prediction would make."""
        table, answers = self.table.cpu(), puzzle.answer.cpu()
        pieces = puzzle.question.detach().cpu().view(-1, self.pieces, *puzzle.question.shape[1:])
        either = f", or {READ[self.grouping]}" if self.reversible else ""

        def ordered(who: str, chosen: Tensor, note: str = "", right: Tensor | None = None) -> list[Panel]:
            orders = [" ".join(str(piece + 1) for piece in order) for order in table[chosen].tolist()]  # as one counts
            images = map(_pile, restore_order(pieces, table[chosen]))
            return panels(images, [f"{who}: {order}{either}{note}" for order in orders], right)

        columns = [
            panels(map(_pile, pieces), "which order?"),
            ordered("answer", answers, "; here put in order by it"),
        ]
        if prediction is not None:
            guesses = prediction.argmax(1).cpu()
            columns.append(ordered("prediction", guesses, right=guesses == answers))
        return rows(*columns)

    def extra_repr(self) -> str:
        return (
            f"pieces={self.pieces}, frames={self.frames}, gap={self.least_gap} to {self.gap}, "
            f"reversible={self.reversible}, grouping={self.grouping!r}, "
            f"channel_splitting={self.channel_splitting}, jitter={self.jitter}, orders={len(self.table)}"
        )

    def _starts(self, n: int, window: int, rng: Generator, device: torch.device) -> Tensor:
        """Draw where the pieces begin, first to last: (n, pieces)."""
        gaps = torch.randint(self.least_gap, self.gap + 1, (n, self.pieces - 1), generator=rng, device=device)
        steps = (self.frames + gaps).cumsum(1)
        start = uniform_to_int(torch.rand(n, generator=rng, device=device), window - steps[:, -1] - self.frames + 1)
        return torch.cat((start[:, None], start[:, None] + steps), 1)

    def _fits(self, x: Tensor) -> None:
        needed = self.pieces * self.frames + (self.pieces - 1) * self.gap
        kind = "waveforms (N, 1, samples)" if self.axes == "t" else "windows (N, C, frames, H, W)"
        room = f"at least {needed} for {self.pieces} pieces of {self.frames} and gaps of up to {self.gap}"
        fits = x.ndim == (3 if self.axes == "t" else 5) and x.shape[2] >= needed
        how = "raise window in the data module, or lower pieces, frames or gap"
        require_input(fits, self, f"{kind} of {room}", x, how)
        got = f"channel_splitting takes one of three colour channels, but there are {x.shape[1]}"
        require(not self.channel_splitting or x.shape[1] == 3, self, got, "switch it off")
        got = f"jitter={self.jitter} leaves nothing of pictures of {x.shape[-2]} x {x.shape[-1]}"
        require(not self.jitter or min(x.shape[-2:]) > 2 * self.jitter, self, got, "lower it")


def orders(pieces: int, grouping: Grouping | None) -> Tensor:
    """List all orders, (pieces!, pieces) int64, the sorted one first; of two that count as one, one of them.

    By "time" that which shows the first piece before the last, by "slots" that whose first slot shows the earlier one.
    """
    every = permutations(range(pieces))
    if grouping == "time":
        return torch.tensor([p for p in every if p.index(0) < p.index(pieces - 1)])
    return torch.tensor([p for p in every if grouping is None or p[0] < p[-1]])


def twin(order: Tensor, grouping: Grouping) -> Tensor:
    """Find the orders (..., pieces) that count as one with these."""
    return order.flip(-1) if grouping == "slots" else order.shape[-1] - 1 - order


def _pile(pieces: Tensor) -> Tensor:
    """Draw images side by side, and clips or sounds one below the other, first to last."""
    if pieces.ndim == 4:
        return film_strip(pieces.transpose(0, 1), len(pieces))
    return stacked(map(thumbnail, pieces))
