"""https://arxiv.org/abs/1705.08168, https://arxiv.org/abs/1804.03641, https://arxiv.org/abs/1807.00230: same moment?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pretext.backbones.multimodal import pair_of
from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.alignment_readouts import Binary, Readout
from pretext.ops.drawing import thumbnail
from pretext.ops.negatives import Negatives
from pretext.ops.temporal import cut_rows, window_of
from pretext.ops.tiles import swap_places

EASY = Negatives()


class Match(NamedTuple):
    """What the pairs are: item by item the aligned one, then the misaligned one."""

    aligned: Tensor
    """(2 N,) int64, 1 or 0."""
    shift: Tensor
    """(2 N,) int64: frames by which the second modality begins after the first."""
    source: Tensor
    """(2 N,) int64: the item that the second modality is taken from."""


class Alignment(Task):
    """Tell whether two modalities show the same moment: picture and sound, or two sorts of picture.

    Each item's clip of the first modality is paired with two clips of the second: that of its own moment and another.
    So labels are exactly balanced, and the first network looks once for both pairs. Where the other clip comes from
    makes it easy or hard to tell.

    Args:
        backbone: a `MultiModal`.
        first: modality that is seen once for two pairs: that of the larger network.
        second: modality that is the same moment's in one pair and another's in the other.
        frames: length of the clips; sound is as long as these frames.
        readout: how the pairs are judged; none: `Binary()`, two classes.
        negatives: where the misaligned moments come from, by epoch.

    Raises:
        ValueError: the backbone has no such two networks, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        first: str = "rgb",
        second: str = "audio",
        frames: int = 8,
        readout: Readout | None = None,
        negatives: Negatives = EASY,
    ) -> None:
        super().__init__()
        dims = [network.dim for network in pair_of(self, backbone, first, second)]
        require(frames >= 1, self, f"{frames=}", "give at least 1 frame")
        negatives.needed(frames)  # refuses clips that are too short
        self.first, self.second, self.frames = first, second, frames
        self.readout, self.negatives = Binary() if readout is None else readout, negatives
        self.epoch = 0
        self.add_module(self.readout.registered, self.readout.layers(dims))

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Cut clips out of windows: {first: (N, C, frames, *S), second: (2 N, ...)}; the answer is a `Match`.

        Raises:
            ValueError: `x` lacks a modality, or its windows are too short.

        """
        window = window_of(self, x, self.first, self.second)
        needed, kind = self.negatives.needed(self.frames)
        shape = f"gap={self.negatives.gap}, overlap={self.negatives.shared(self.frames)}"
        require(
            window >= needed,
            self,
            f"{kind} pairs of {self.frames} frames with {shape} take windows of at least {needed} frames, got {window}",
            f"raise `window` in the data module to {needed} or more, or lower frames",
        )
        first, second = x[self.first], x[self.second]
        epoch = self.epoch if self.training else None
        start, other, source = self.negatives.draw(len(first), window, self.frames, epoch, rng)
        items = torch.arange(len(first), device=first.device)
        starts, sources = torch.stack((start, other), 1).flatten(), torch.stack((items, source), 1).flatten()
        question = {
            self.first: cut_rows(first, items, start, self.frames, window),
            self.second: cut_rows(second, sources, starts, self.frames, window),
        }
        aligned = 1 - torch.arange(2 * len(first), device=first.device) % 2
        return Puzzle(question, Match(aligned, starts - start.repeat_interleave(2), sources))

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put other items' second modality in the places of an item's own: aligned for aligned, the other likewise."""
        second = swap_places(puzzle.question[self.second].unflatten(0, (-1, 2)), rng).flatten(0, 1)
        return puzzle._replace(question={**puzzle.question, self.second: second})

    def solve(self, features: dict[str, Features], given: None) -> Tensor:
        """Give logits (2 N, 2) of misaligned and aligned, or both embeddings of each pair (2 N, 2, width)."""
        layers = self.get_submodule(self.readout.registered)
        return self.readout.solve(layers, features[self.first].pooled, features[self.second].pooled)

    def grade(self, prediction: Tensor, answer: Match) -> Grade:
        return self.readout.grade(prediction, answer.aligned)

    def chance(self) -> Grade:
        """Return a blind guess: ln 2, or what embeddings that are all equal cost."""
        return self.readout.chance()

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the clip of each item, what belongs to it, and what does not; with what was said of either."""
        verdicts: list[bool] | list[None] = [None] * len(puzzle.answer.aligned)
        if prediction is not None:
            verdicts = self.readout.takes_for_aligned(prediction.detach()).tolist()
        rows = [[Panel(thumbnail(clip), "do these belong together?")] for clip in puzzle.question[self.first]]
        answers = zip(*(part.tolist() for part in puzzle.answer), strict=True)
        shown = zip(puzzle.question[self.second], answers, verdicts, strict=True)
        for i, (clip, (aligned, shift, source), verdict) in enumerate(shown):
            caption = f"answer: {_relation(i // 2, bool(aligned), shift, source)}"
            if verdict is not None:
                caption += f"; prediction: {'aligned' if verdict else 'not aligned'}"
            rows[i // 2].append(Panel(thumbnail(clip), caption, None if verdict is None else verdict == bool(aligned)))
        return rows

    def extra_repr(self) -> str:
        return (
            f"first={self.first!r}, second={self.second!r}, frames={self.frames}, readout={self.readout}, "
            f"negatives={self.negatives}"
        )


def _relation(item: int, aligned: bool, shift: int, source: int) -> str:
    if aligned:
        return "aligned"
    if source != item:
        return f"of item {source + 1}"
    return f"{abs(shift)} frames {'later' if shift > 0 else 'earlier'}" if shift else "the same moment again"
