"""https://arxiv.org/abs/2002.12177 (Piergiovanni et al.: ELo, CVPR 2020): which sound is of the same clip?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from pretext.backbones.multimodal import pair_of
from pretext.core.errors import require
from pretext.core.ranks import gathered, gathered_rows
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.embedding_losses import EmbeddingLoss, MaxMargin
from pretext.nn.heads import small
from pretext.nn.losses import ranking
from pretext.ops.drawing import panels, rows, thumbnail
from pretext.ops.temporal import same_moment
from pretext.ops.tiles import swap_places

Pair = tuple[Tensor, Tensor]
"""Embeddings (N, outputs) of the first and of the second modality."""


class Embed(Task):
    """Bring two modalities of one clip close together, and apart from those of the others in the batch.

    Both modalities show the same moment. The loss is divided by what a blind guess costs, so that it is 1 whatever the
    batch, the margin and the temperature.

    Clips are compared within the batch, that of all devices in training: use as many as fit, since the others are the
    wrong answers. The heads are linear, ReLU, linear, without batch norm, which would let the clips of a batch see one
    another.

    Args:
        backbone: a `MultiModal`.
        first: the modality that asks; one of both, at least, is of pictures.
        second: the modality that is found.
        frames: length of the clips, from a random place in their windows; none: the whole windows.
        loss: how embeddings are compared; none: `MaxMargin()`.
        hardest: epoch from which on only the wrong one that is most like the first counts instead of all (for `InfoNCE`
            the same in turn). Outside training it always holds. Begin with all: from the start, 0, embeddings are soon
            all equal, since the one that counts is nearer than the right one almost always.
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
        loss: EmbeddingLoss | None = None,
        hardest: int | None = None,
        width: int | None = None,
        outputs: int = 128,
    ) -> None:
        super().__init__()
        dims = [network.dim for network in pair_of(self, backbone, first, second)]
        sizes = [frames, width, outputs]
        least = "give at least 1 of each, or none"
        require(min(1 if n is None else n for n in sizes) >= 1, self, f"{frames=}, {width=}, {outputs=}", least)
        require(hardest is None or hardest >= 0, self, f"{hardest=}", "give an epoch of 0 or more, or none")
        self.first, self.second, self.frames = first, second, frames
        self.loss, self.hardest, self.epoch = MaxMargin() if loss is None else loss, hardest, 0
        spread = self.loss.spread(outputs)
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

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put other items' second modality in the places of an item's own, where the answer says that it belongs."""
        second = swap_places(puzzle.question[self.second].unsqueeze(1), rng)[:, 0]
        return puzzle._replace(question={**puzzle.question, self.second: second})

    def solve(self, features: dict[str, Features], given: None) -> Pair:
        """Give the embeddings of both modalities, (N, outputs) each."""
        pooled = (features[self.first].pooled, features[self.second].pooled)
        one, two = (head(vectors) for head, vectors in zip(self.heads, pooled, strict=True))
        return one, two

    def grade(self, prediction: Pair, answer: Tensor) -> Grade:
        """Score the loss, and `ranking`: the share of other clips' seconds that are less like the first than its own.

        A single clip, such as a validation set may leave over, has nothing to be told from: it costs a blind guess.
        """
        answer = gathered_rows(answer, len(answer))
        one, two = (gathered(part) for part in prediction)
        if len(one) == 1:
            return self.chance()._replace(loss=1 + 0 * (one.float().sum() + two.float().sum()))
        alike = self.loss.likeness(one, two)[:, answer]  # the right ones on the diagonal
        hardest = self.hardest is not None and (self.epoch >= self.hardest or not self.training)
        return Grade(self.loss.loss(alike, hardest), {"ranking": ranking(alike)})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {"ranking": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Pair | None) -> list[list[Panel]]:
        """Draw each first with its second, and the second that the prediction finds most like the first."""
        seconds, answer = [thumbnail(clip) for clip in puzzle.question[self.second]], puzzle.answer.tolist()
        columns = [
            panels(map(thumbnail, puzzle.question[self.first]), f"which {self.second} is of this clip?"),
            panels([seconds[own] for own in answer], "answer: its own"),
        ]
        if prediction is not None:
            nearest = self.loss.likeness(*(part.detach().cpu() for part in prediction)).argmax(1)
            pairs = zip(nearest.tolist(), answer, strict=True)
            names = ["its own" if i == own else f"that of item {i + 1}" for i, own in pairs]
            captions, right = [f"prediction: {name}" for name in names], nearest == puzzle.answer.cpu()
            columns.append(panels([seconds[i] for i in nearest.tolist()], captions, right))
        return rows(*columns)

    def extra_repr(self) -> str:
        asked = f"first={self.first!r}, second={self.second!r}, frames={self.frames}"
        return f"{asked}, loss={self.loss}, hardest={self.hardest}"


def _layers(inputs: int, width: int, outputs: int, spread: float | None) -> nn.Sequential:
    """Make a head of one hidden layer, whose outputs spread so much for hidden values of about 1, or as usual."""
    last = nn.Linear(width, outputs)
    if spread is not None:
        small(last, spread / width**0.5)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), last)
