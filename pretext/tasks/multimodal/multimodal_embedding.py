"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): which sound is of the same clip?"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.backbones.multimodal import pair_of
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.losses import info_nce, max_margin, ranking
from pretext.ops.drawing import show
from pretext.ops.temporal import same_moment

Pair = tuple[Tensor, Tensor]
"""Embeddings (N, outputs) of the first and of the second modality."""


class Embed(Task):
    """Bring two modalities of one clip close together, and apart from those of the others in the batch.

    Both modalities show the same moment. For `loss="margin"` a clip costs |x1 - x2|^2 + max(0, margin - |x1 - xn|^2),
    ELo's max-margin loss, averaged over all others' xn, which are of the second modality; embeddings that are all equal
    cost the margin, and no guess that ignores the clips costs less. "nce" is the cross entropy of finding the right
    second among all by its cosine over the temperature, and the right first in turn; a blind guess costs ln N. Either
    is divided by what a blind guess costs, so that it is 1 whatever the batch, the margin and the temperature.

    Clips are compared within the batch of one device: use as many as fit, since the others are the wrong answers. The
    heads are linear, ReLU, linear, without batch norm, which would let the clips of a batch see one another.

    Args:
        backbone: a `MultiModal`.
        first: the modality that asks; one of both, at least, is of pictures.
        second: the modality that is found.
        frames: length of the clips, from a random place in their windows; none: the whole windows.
        loss: "margin" or "nce".
        margin: squared distance from which on a wrong one costs nothing; for "margin".
        hardest: epoch from which on only the wrong one that is most like the first counts instead of all (and for "nce"
            the same in turn). Outside training it always holds. Begin with all: from the start, 0, embeddings are soon
            all equal, since the one that counts is nearer than the right one almost always.
        temperature: of the cosines; for "nce".
        width: of the heads' hidden layers; none: those of the networks.
        outputs: size of the embeddings.

    Raises:
        ValueError: the backbone has no such two networks, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        first: str = "rgb",
        second: str = "audio",
        frames: int | None = None,
        loss: Literal["margin", "nce"] = "margin",
        margin: float = 1.0,
        hardest: int | None = None,
        temperature: float = 0.1,
        width: int | None = None,
        outputs: int = 128,
    ) -> None:
        super().__init__()
        dims = [network.dim for network in pair_of(self, backbone, first, second)]
        if loss not in ("margin", "nce"):
            raise ValueError(f'Embed: loss is {loss!r}; choose "margin" or "nce"')
        if min(frames or 1, 1 if width is None else width, outputs) < 1 or frames == 0:
            raise ValueError(
                f"Embed: frames={frames}, width={width}, outputs={outputs}; give at least 1 of each, or none"
            )
        if not (margin > 0 and temperature > 0) or (hardest or 0) < 0:
            raise ValueError(
                f"Embed: margin={margin}, temperature={temperature}, hardest={hardest}; give a positive margin and "
                "temperature, and an epoch of 0 or more, or none"
            )
        self.first, self.second, self.frames = first, second, frames
        self.loss, self.margin, self.hardest, self.temperature = loss, margin, hardest, temperature
        self.epoch = 0
        # Starts with distances that are small beside the margin; cosines do not know the size.
        spread = (0.05 * margin / outputs) ** 0.5 if loss == "margin" else None
        self.heads = nn.ModuleList(_layers(dim, width or dim, outputs, spread) for dim in dims)

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def pose(self, x: dict[str, Tensor], rng: Generator) -> Puzzle:
        """Cut the same moment out of both windows; the answer is the row of each first's second, (N,) int64.

        Raises:
            ValueError: `x` lacks a modality, or its windows are too short.

        """
        question = same_moment(self, x, self.first, self.second, self.frames, rng)
        return Puzzle(question, torch.arange(len(x[self.first]), device=rng.device))

    def solve(self, features: dict[str, Features], given: None) -> Pair:
        """Give the embeddings of both modalities, (N, outputs) each."""
        seen = (features[self.first].pooled, features[self.second].pooled)
        one, two = (head(pooled) for head, pooled in zip(self.heads, seen, strict=True))
        return one, two

    def grade(self, prediction: Pair, answer: Tensor) -> Grade:
        """Score the loss, and `ranking`: the share of other clips' seconds that are less like the first than its own.

        A single clip, such as a validation set may leave over, has nothing to be told from: it costs a blind guess.
        """
        one, two = prediction
        if len(one) == 1:
            return self.chance()._replace(loss=1 + 0 * (one.float().sum() + two.float().sum()))
        alike = self._likeness(one, two)[:, answer]  # the right ones on the diagonal
        hardest = self.hardest is not None and (self.epoch >= self.hardest or not self.training)
        if self.loss == "margin":
            loss = max_margin(-alike, self.margin, hardest) / self.margin
        else:
            loss = info_nce(alike, hardest) / math.log(2 if hardest else len(alike))
        return Grade(loss, {"ranking": ranking(alike)})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {"ranking": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Pair | None) -> list[list[Panel]]:
        """Draw each first with its second, and the second that the prediction finds most like the first."""
        seconds, answer = [show(clip) for clip in puzzle.question[self.second]], puzzle.answer.tolist()
        rows = [
            [Panel(show(clip), f"which {self.second} is of this clip?"), Panel(seconds[own], "answer: its own")]
            for clip, own in zip(puzzle.question[self.first], answer, strict=True)
        ]
        if prediction is not None:
            nearest = self._likeness(*(part.detach().cpu() for part in prediction)).argmax(1).tolist()
            for row, found, own in zip(rows, nearest, answer, strict=True):
                what = "its own" if found == own else f"that of item {found + 1}"
                row.append(Panel(seconds[found], f"prediction: {what}", found == own))
        return rows

    def extra_repr(self) -> str:
        scale = f"margin={self.margin}" if self.loss == "margin" else f"temperature={self.temperature}"
        return (
            f"first={self.first!r}, second={self.second!r}, frames={self.frames}, loss={self.loss!r}, {scale}, "
            f"hardest={self.hardest}"
        )

    def _likeness(self, one: Tensor, two: Tensor) -> Tensor:
        """Compare every first with every second, (N, N): minus the squared distance, or the cosine over temperature."""
        one, two = one.float(), two.float()
        if self.loss == "nce":
            return functional.normalize(one, dim=1) @ functional.normalize(two, dim=1).mT / self.temperature
        # Not by way of a matrix product, which rounds the distance of like embeddings to anything.
        return -torch.cdist(one, two, compute_mode="donot_use_mm_for_euclid_dist").square()


def _layers(inputs: int, width: int, outputs: int, spread: float | None) -> nn.Sequential:
    """Make a head of one hidden layer, whose outputs spread so much for hidden values of about 1, or as usual."""
    last = nn.Linear(width, outputs)
    if spread is not None:
        nn.init.normal_(last.weight, std=spread / width**0.5)
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), last)
